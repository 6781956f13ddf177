-- A parcel service, small enough that a careless statement stays below every row cap, with what hides writes in it.
-- What runs behind a statement's back leaves a row in ran. readings is the one table that is larger than the cap.
DO $$ BEGIN CREATE ROLE guardrail_guest; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
CREATE SCHEMA ops;
CREATE SCHEMA hidden;
CREATE TABLE ran (n bigserial PRIMARY KEY, what text);
CREATE TYPE state AS ENUM ('new', 'moving', 'done');
CREATE TYPE dims AS (w int, h int);

CREATE TABLE depots (id int PRIMARY KEY, code text NOT NULL UNIQUE, city text NOT NULL, capacity int NOT NULL DEFAULT 10, opened date NOT NULL DEFAULT '2020-01-01');
INSERT INTO depots (id, code, city) SELECT g, 'D' || g, (ARRAY['Oslo','Lyon','Graz'])[g % 3 + 1] FROM generate_series(1, 12) g;

CREATE TABLE couriers (id int PRIMARY KEY, tag text NOT NULL, depot_id int NOT NULL REFERENCES depots(id), active boolean NOT NULL DEFAULT true, boss_id int REFERENCES couriers(id));
INSERT INTO couriers (id, tag, depot_id, active) SELECT g, 'c' || g, g % 12 + 1, g % 4 > 0 FROM generate_series(1, 16) g;
UPDATE couriers SET boss_id = 1 WHERE id > 1;

CREATE TABLE parcels (id int PRIMARY KEY, twin int NOT NULL, ref uuid NOT NULL, code varchar(20) NOT NULL UNIQUE, title text NOT NULL,
  depot_id int NOT NULL REFERENCES depots(id), courier_id int REFERENCES couriers(id), state state NOT NULL DEFAULT 'new', fragile boolean NOT NULL DEFAULT false,
  weight numeric(8,2) NOT NULL DEFAULT 1.5, price money NOT NULL DEFAULT '9.90', score float8 NOT NULL DEFAULT 0.5, rank smallint NOT NULL DEFAULT 1,
  sent_on date NOT NULL, made_at timestamptz NOT NULL, changed_at timestamptz NOT NULL, slot tstzrange NOT NULL, hours int4range NOT NULL DEFAULT '[1,9)',
  spans int4multirange NOT NULL DEFAULT '{[1,2),[5,7)}', wait interval NOT NULL DEFAULT '1 hour', at_time time NOT NULL DEFAULT '12:00', tags text[] NOT NULL DEFAULT '{a,b}',
  nums int[] NOT NULL DEFAULT '{1,2,3}', meta jsonb NOT NULL DEFAULT '{"k": 1}', raw json NOT NULL DEFAULT '{"k": 1}', spot point NOT NULL DEFAULT '(1,1)',
  area box NOT NULL DEFAULT '((0,0),(1,1))', net inet NOT NULL DEFAULT '10.0.0.1', mac macaddr NOT NULL DEFAULT '08:00:2b:01:02:03', flags bit(4) NOT NULL DEFAULT B'0101',
  payload bytea NOT NULL DEFAULT '\x01', vec tsvector NOT NULL DEFAULT 'box:1', mark text, doc text NOT NULL DEFAULT '<a>1</a>', lsn pg_lsn NOT NULL DEFAULT '0/10');
INSERT INTO parcels (id, twin, ref, code, title, depot_id, courier_id, sent_on, made_at, changed_at, slot)
SELECT g, g, ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, 'P' || g, 'box ' || g, g % 12 + 1, g % 16 + 1, date '2024-01-01' + g,
  timestamptz '2024-01-01 UTC' + g * interval '1 hour', timestamptz '2024-01-01 UTC' + g * interval '1 hour',
  tstzrange(timestamptz '2024-01-01 UTC' + g * interval '1 hour', timestamptz '2024-01-02 UTC' + g * interval '1 hour')
FROM generate_series(1, 30) g;
CREATE INDEX parcels_meta ON parcels USING gin (meta);
CREATE INDEX parcels_sent ON parcels (sent_on, depot_id);

CREATE TABLE scans (parcel_id int NOT NULL REFERENCES parcels(id) ON DELETE CASCADE, step int NOT NULL, place text NOT NULL, PRIMARY KEY (parcel_id, step));
INSERT INTO scans SELECT p, s, 'gate ' || s FROM generate_series(1, 20) p, generate_series(1, 2) s;
CREATE TABLE sensors (id int PRIMARY KEY, depot_id int NOT NULL REFERENCES depots(id) ON DELETE CASCADE ON UPDATE CASCADE, kind text NOT NULL, low int NOT NULL DEFAULT 0);
INSERT INTO sensors SELECT g, g % 3 + 10, (ARRAY['heat','door'])[g % 2 + 1] FROM generate_series(1, 6) g;
CREATE TABLE readings (id bigserial PRIMARY KEY, sensor_id int REFERENCES sensors(id) ON DELETE CASCADE ON UPDATE CASCADE, taken_at timestamptz NOT NULL DEFAULT '2024-03-01 UTC', val float8);
INSERT INTO readings (sensor_id, val) SELECT g % 6 + 1, g FROM generate_series(1, 900) g;
CREATE TABLE tariffs (zone text PRIMARY KEY, cents int NOT NULL, since date NOT NULL DEFAULT '2024-01-01');
INSERT INTO tariffs VALUES ('A', 100), ('B', 200), ('C', 300);
CREATE TABLE journal (id bigserial PRIMARY KEY, entry text NOT NULL DEFAULT '-', amount numeric, made_at timestamptz NOT NULL DEFAULT now());
INSERT INTO journal (entry, amount) SELECT 'j' || g, g FROM generate_series(1, 10) g;
CREATE TABLE "Odd Table" ("delete" int PRIMARY KEY, "drop table" text, "WHERE" text); INSERT INTO "Odd Table" VALUES (1, 'x', 'y'), (2, 'x', 'y');
CREATE TABLE ops.flags (key text PRIMARY KEY, on_ boolean NOT NULL); INSERT INTO ops.flags VALUES ('dark', true), ('fast', false);
CREATE TABLE hidden.parcels (id int, title text);
CREATE TABLE one (x int); INSERT INTO one VALUES (1);
CREATE TABLE nothing (x int);
CREATE TABLE moves (id int NOT NULL, at date NOT NULL, kind text NOT NULL DEFAULT 'in', PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE moves_2024 PARTITION OF moves FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE moves_2025 PARTITION OF moves FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO moves SELECT g, date '2024-12-20' + g FROM generate_series(1, 20) g;
CREATE TABLE assets (id int PRIMARY KEY, label text NOT NULL); CREATE TABLE vans (plate text) INHERITS (assets);
INSERT INTO assets SELECT g, 'a' FROM generate_series(1, 5) g; INSERT INTO vans SELECT g, 'v', 'X' || g FROM generate_series(6, 9) g;
CREATE VIEW v_parcels AS SELECT id, title, depot_id, weight FROM parcels;
CREATE VIEW v_moving AS SELECT id, title FROM parcels WHERE state = 'moving' WITH CHECK OPTION;
CREATE VIEW v_depot_load AS SELECT d.id, d.city, count(p.id) AS n, sum(p.weight) AS kg FROM depots d LEFT JOIN parcels p ON p.depot_id = d.id GROUP BY d.id;
CREATE MATERIALIZED VIEW mv_load AS SELECT depot_id, count(*) AS n FROM parcels GROUP BY depot_id;
CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL UNIQUE, phone text, full_name text NOT NULL, depot_id int NOT NULL DEFAULT 1 REFERENCES depots(id), since date NOT NULL DEFAULT '2021-05-01');
INSERT INTO people (id, email, phone, full_name) SELECT g, 'p' || g || '@example.org', '+4940' || g, 'Person ' || g FROM generate_series(1, 15) g;
CREATE TABLE django_migrations (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied timestamptz NOT NULL);
INSERT INTO django_migrations (app, name, applied) VALUES ('depots', '0001_initial', '2024-01-01 UTC');
CREATE INDEX journal_fts ON journal USING gin (to_tsvector('english', entry));

-- what runs behind a statement's back
CREATE FUNCTION stamp(what text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN INSERT INTO public.ran (what) VALUES (what); RETURN what; END $$;
CREATE FUNCTION stamp_if(what text) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT public.stamp(coalesce(what, '')) IS NOT NULL $$;
CREATE FUNCTION stamp_n(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.stamp('n'); RETURN n; END $$;
CREATE FUNCTION quiet(what text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT public.stamp(what) $$;
CREATE FUNCTION clear_readings() RETURNS bigint LANGUAGE sql AS $$ WITH d AS (DELETE FROM public.readings RETURNING 1) SELECT count(*) FROM d $$;
CREATE FUNCTION run_text(q text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE q; END $$;
CREATE FUNCTION "Stamp Me"() RETURNS int LANGUAGE sql AS $$ SELECT length(public.stamp('quoted')) $$;
CREATE FUNCTION depot_wipe(d depots) RETURNS int LANGUAGE sql AS $$ SELECT length(public.stamp('row')) $$;
CREATE FUNCTION elevated() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = hidden AS $$ SELECT public.stamp('definer') $$;
CREATE FUNCTION many(n int) RETURNS SETOF int LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP PERFORM public.stamp('many'); RETURN NEXT i; END LOOP; END $$;
CREATE FUNCTION variadic_stamp(VARIADIC what text[]) RETURNS text LANGUAGE sql AS $$ SELECT public.stamp(what[1]) $$;
CREATE FUNCTION defaulted(a int DEFAULT length(public.stamp('default'))) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT a $$;
CREATE FUNCTION initcap(int) RETURNS text LANGUAGE sql AS $$ SELECT public.stamp('overload') $$;
CREATE FUNCTION "now"(int) RETURNS text LANGUAGE sql AS $$ SELECT public.stamp('overload') $$;
CREATE FUNCTION hidden.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT public.stamp('shadow') $$;
CREATE PROCEDURE sweep(n int DEFAULT 1) LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.journal; COMMIT; END $$;
CREATE PROCEDURE sweep_out(INOUT n int) LANGUAGE sql AS $$ DELETE FROM public.journal RETURNING 1 $$;
CREATE FUNCTION op_any(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.stamp('op'); RETURN true; END $$;
CREATE OPERATOR <=> (LEFTARG = anyelement, RIGHTARG = anyelement, FUNCTION = op_any);
CREATE FUNCTION op_int(int, int) RETURNS boolean LANGUAGE sql AS $$ SELECT public.stamp_if('op') $$;
CREATE OPERATOR =*= (LEFTARG = int, RIGHTARG = int, FUNCTION = op_int);
CREATE OPERATOR hidden.= (LEFTARG = int, RIGHTARG = int, FUNCTION = op_int);
CREATE FUNCTION op_text(text, text) RETURNS text LANGUAGE sql AS $$ SELECT public.stamp('op') $$;
CREATE OPERATOR hidden.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = op_text);
CREATE FUNCTION op_dims(dims, dims) RETURNS boolean LANGUAGE sql AS $$ SELECT public.stamp_if('dims') $$;
CREATE OPERATOR = (LEFTARG = dims, RIGHTARG = dims, FUNCTION = op_dims);
CREATE OPERATOR < (LEFTARG = dims, RIGHTARG = dims, FUNCTION = op_dims);
CREATE OPERATOR <= (LEFTARG = dims, RIGHTARG = dims, FUNCTION = op_dims);
CREATE OPERATOR >= (LEFTARG = dims, RIGHTARG = dims, FUNCTION = op_dims);
CREATE OPERATOR > (LEFTARG = dims, RIGHTARG = dims, FUNCTION = op_dims);
CREATE OPERATOR @@@ (RIGHTARG = text, FUNCTION = stamp);
CREATE DOMAIN code_d AS text CHECK (public.stamp_if(VALUE));
CREATE DOMAIN code_dd AS code_d;
CREATE DOMAIN codes_d AS code_d[];
CREATE TYPE with_code AS (a int, c code_d);
CREATE TABLE coded (id int PRIMARY KEY, c code_d); INSERT INTO coded VALUES (1, NULL);
CREATE FUNCTION cast_dims(text) RETURNS dims LANGUAGE sql AS $$ SELECT ROW(length(public.stamp('cast')), 1)::public.dims $$;
CREATE CAST (text AS dims) WITH FUNCTION cast_dims(text) AS ASSIGNMENT;
CREATE FUNCTION cast_back(dims) RETURNS int LANGUAGE sql AS $$ SELECT length(public.stamp('cast back')) $$;
CREATE CAST (dims AS int) WITH FUNCTION cast_back(dims) AS ASSIGNMENT;
CREATE FUNCTION step(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM public.stamp('agg'); RETURN coalesce($1, 0) + coalesce($2, 0); END $$;
CREATE AGGREGATE total(int) (SFUNC = step, STYPE = int);
CREATE FUNCTION fin(int) RETURNS int LANGUAGE sql AS $$ SELECT length(public.stamp('final')) $$;
CREATE AGGREGATE plain_sum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', FINALFUNC = fin);
CREATE AGGREGATE ranked(ORDER BY int) (SFUNC = step, STYPE = int);
CREATE FUNCTION diff(text, text) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$ SELECT length(public.stamp_n(1)::text)::float8 $$;
CREATE FUNCTION cmp_dims(dims, dims) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.stamp('cmp'); RETURN ($1).w - ($2).w; END $$;
CREATE OPERATOR CLASS dims_ops DEFAULT FOR TYPE dims USING btree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 cmp_dims(dims, dims);
CREATE TABLE wide (id int PRIMARY KEY, d dims); INSERT INTO wide VALUES (1, ROW(1,2)), (2, ROW(2,1)), (3, ROW(0,0));
CREATE TABLE defaulting (id int PRIMARY KEY, v text DEFAULT public.stamp('column default'));
CREATE TABLE checking (id int PRIMARY KEY, v text CHECK (public.stamp_if(v))); INSERT INTO checking VALUES (1, NULL);
CREATE TABLE indexed (id int PRIMARY KEY, n int); CREATE INDEX ON indexed (stamp_n(n)); INSERT INTO indexed VALUES (1, 1);
CREATE TABLE generated (id int PRIMARY KEY, n int, m int GENERATED ALWAYS AS (stamp_n(n)) STORED); INSERT INTO generated VALUES (1, 1);
CREATE VIEW v_stamp AS SELECT d.id, stamp('view') AS s FROM depots d;
CREATE VIEW v_deep AS SELECT id FROM v_stamp WHERE s IS NOT NULL;
CREATE VIEW v_ins AS SELECT id, code FROM depots;
CREATE FUNCTION ins_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.readings; RETURN NEW; END $$;
CREATE TRIGGER ins INSTEAD OF INSERT OR UPDATE OR DELETE ON v_ins FOR EACH ROW EXECUTE FUNCTION ins_trg();
CREATE TABLE trapped (id int PRIMARY KEY, v text); INSERT INTO trapped SELECT g, 'v' FROM generate_series(1, 4) g;
CREATE FUNCTION trap_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.readings; RETURN NULL; END $$;
CREATE TRIGGER trap AFTER UPDATE OR DELETE ON trapped FOR EACH STATEMENT EXECUTE FUNCTION trap_trg();
CREATE TABLE dynamic (id int PRIMARY KEY, v text); INSERT INTO dynamic VALUES (1, 'x');
CREATE FUNCTION dynamic_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.v; RETURN NEW; END $$;
CREATE TRIGGER dyn BEFORE INSERT OR UPDATE ON dynamic FOR EACH ROW EXECUTE FUNCTION dynamic_trg();
CREATE TABLE fanout (id int PRIMARY KEY); CREATE TABLE fanned (id bigserial, n int);
CREATE FUNCTION fan_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fanned (n) SELECT g FROM generate_series(1, 500) g; RETURN NEW; END $$;
CREATE TRIGGER fan AFTER INSERT ON fanout FOR EACH ROW EXECUTE FUNCTION fan_trg();
CREATE TABLE ruled (id int PRIMARY KEY, v text); INSERT INTO ruled VALUES (1, 'x');
CREATE RULE r_ins AS ON INSERT TO ruled DO ALSO DELETE FROM public.journal;
CREATE RULE r_del AS ON DELETE TO ruled DO INSTEAD UPDATE ops.flags SET on_ = false;
CREATE RULE r_upd AS ON UPDATE TO ruled DO INSTEAD SELECT public.stamp('rule');
CREATE TABLE guarded (id int PRIMARY KEY, v text); INSERT INTO guarded VALUES (1, 'x');
CREATE TABLE touched (id int PRIMARY KEY, v text, changed_at timestamptz); INSERT INTO touched SELECT g, 'v' FROM generate_series(1, 4) g;
CREATE FUNCTION touch_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch_trg();
SELECT lo_from_bytea(777, 'large');
ANALYZE;
TRUNCATE ran RESTART IDENTITY;
