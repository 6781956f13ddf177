CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE items (
    id int PRIMARY KEY,
    label varchar(10),
    code char(5) DEFAULT 'zz',
    price numeric(8, 2) DEFAULT 1.5,
    ratio real,
    tags text[],
    info jsonb,
    how mood DEFAULT 'ok',
    many positive,
    since timestamptz(0) DEFAULT '2020-01-01 00:00:00+00',
    made timestamptz DEFAULT now(),
    twice numeric GENERATED ALWAYS AS (price * 2) STORED,
    raw bytea,
    email text
);
INSERT INTO items (id, label, ratio, tags, info, many, made, raw, email)
    SELECT n, 'l' || n, n / 3.0, ARRAY['a', 'b' || n], '{"n": 1}', n, '2020-01-01', '\x00ff', 'u' || n || '@example.org'
    FROM generate_series(1, 20) AS n;
CREATE TABLE prices (item int REFERENCES items, price numeric, PRIMARY KEY (item, price));
INSERT INTO prices VALUES (1, 10), (2, 20), (3, 30), (3, 31);
CREATE TABLE numbered (id serial PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now());
INSERT INTO numbered (name) VALUES ('a'), ('b');
CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
CREATE TABLE unkeyed (a int, b text);
INSERT INTO unkeyed VALUES (1, 'a');
CREATE TABLE nullable (a int UNIQUE, b text);
CREATE TABLE unique_only (a int NOT NULL UNIQUE, b text);
INSERT INTO unique_only VALUES (1, 'a'), (2, 'b');
CREATE TABLE parents (id int PRIMARY KEY, name text);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
INSERT INTO parents VALUES (1, 'p'), (2, 'q');
INSERT INTO children VALUES (1, 1);
CREATE TABLE log (what text);
CREATE TABLE logged (id int PRIMARY KEY, name text);
INSERT INTO logged VALUES (1, 'a'), (2, 'b');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log VALUES (OLD.name); RETURN NULL; END $$;
CREATE TRIGGER note AFTER UPDATE ON logged FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE stamped (id int PRIMARY KEY, name text, changed text);
INSERT INTO stamped VALUES (1, 'a'), (2, 'b');
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.changed := 'yes'; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TABLE checked (id int PRIMARY KEY, name text);
INSERT INTO checked VALUES (1, 'a'), (2, 'b');
CREATE FUNCTION verify() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.name = 'bad' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
CREATE TRIGGER verify BEFORE UPDATE ON checked FOR EACH ROW EXECUTE FUNCTION verify();
CREATE TABLE suppressed (id int PRIMARY KEY, name text);
INSERT INTO suppressed VALUES (1, 'a'), (2, 'b');
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF OLD.id = 1 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER suppress BEFORE UPDATE ON suppressed FOR EACH ROW EXECUTE FUNCTION suppress();
CREATE TABLE swapped (id int PRIMARY KEY, name text);
INSERT INTO swapped VALUES (1, 'a'), (2, 'b');
CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS
    $$ DECLARE r swapped; BEGIN r := OLD; RETURN r; END $$;
CREATE TRIGGER swap BEFORE UPDATE ON swapped FOR EACH ROW EXECUTE FUNCTION swap();
CREATE TABLE ruled (id int PRIMARY KEY, name text);
CREATE RULE quiet AS ON DELETE TO ruled DO INSTEAD NOTHING;
CREATE VIEW few AS SELECT id, label FROM items WHERE id < 5;
CREATE TABLE parted (region int, id int, name text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted VALUES (1, 1, 'a'), (2, 1, 'b'), (2, 2, 'c');
CREATE TABLE family (id int PRIMARY KEY, name text);
CREATE TABLE offspring () INHERITS (family);
CREATE FUNCTION twice(n numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION lucky() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 7';
CREATE SCHEMA "Odd ""one";
CREATE TABLE "Odd ""one"."Tab%le" ("Key" text PRIMARY KEY, "Set" text);
INSERT INTO "Odd ""one"."Tab%le" VALUES ('k''1', 'v'), ('ü', 'w');
CREATE TABLE derived (a int, b int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY);
CREATE TABLE mixed (a int NOT NULL UNIQUE, b int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY, c text);
INSERT INTO mixed (a) VALUES (1);
CREATE TABLE deferred (a int PRIMARY KEY DEFERRABLE, c text);
CREATE SEQUENCE steps;
CREATE FUNCTION counts(n int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('steps'); RETURN true; END $$;
CREATE DOMAIN counted AS int CHECK (counts(VALUE));
CREATE TABLE domained (id int PRIMARY KEY, n counted, m int);
INSERT INTO domained VALUES (1, 1, 1);
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION told(p pair) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('steps'); RETURN 'told'; END $$;
CREATE CAST (pair AS text) WITH FUNCTION told(pair);
CREATE FUNCTION paired(t text) RETURNS pair LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('steps'); RETURN NULL; END $$;
CREATE CAST (text AS pair) WITH FUNCTION paired(text);
CREATE TABLE told (id int PRIMARY KEY, p pair, n int);
INSERT INTO told VALUES (1, ROW(1, 2), 1);
SELECT setval('steps', 1);
CREATE TABLE aliased (id int PRIMARY KEY, a text, c text DEFAULT 'd');
CREATE FUNCTION alias() RETURNS trigger LANGUAGE plpgsql AS
    $$ DECLARE n ALIAS FOR NEW; BEGIN n.c := 'other'; RETURN n; END $$;
CREATE TRIGGER alias BEFORE INSERT ON aliased FOR EACH ROW EXECUTE FUNCTION alias();
CREATE TABLE copied (LIKE aliased INCLUDING ALL);
CREATE FUNCTION copies() RETURNS trigger LANGUAGE plpgsql AS
    $$ DECLARE r record; BEGIN r := NEW; r.c := 'other'; RETURN r; END $$;
CREATE TRIGGER copies BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION copies();
CREATE TABLE looped (LIKE aliased INCLUDING ALL);
CREATE FUNCTION loops() RETURNS trigger LANGUAGE plpgsql AS
    $$ DECLARE x text; BEGIN FOR x, NEW.c IN SELECT 'a', 'other' LOOP END LOOP; RETURN NEW; END $$;
CREATE TRIGGER loops BEFORE INSERT ON looped FOR EACH ROW EXECUTE FUNCTION loops();
CREATE TABLE fetched (LIKE aliased INCLUDING ALL);
CREATE FUNCTION fetches() RETURNS trigger LANGUAGE plpgsql AS
    $$ DECLARE k CURSOR IS SELECT 'other'; BEGIN OPEN k; FETCH k INTO NEW.c; RETURN NEW; END $$;
CREATE TRIGGER fetches BEFORE INSERT ON fetched FOR EACH ROW EXECUTE FUNCTION fetches();
CREATE TABLE by_name (LIKE aliased INCLUDING ALL);
CREATE FUNCTION named() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN named.new.c := 'other'; RETURN NEW; END $$;
CREATE TRIGGER named BEFORE INSERT ON by_name FOR EACH ROW EXECUTE FUNCTION named();
CREATE TABLE handed (LIKE aliased INCLUDING ALL);
CREATE FUNCTION hands() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.a = 'bad' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
CREATE TRIGGER hands BEFORE INSERT ON handed FOR EACH ROW EXECUTE FUNCTION hands();
