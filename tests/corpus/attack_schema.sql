-- A shop with people in it, and objects that make hidden calls. Everything sensitive holds the word CANARY or is in 1900-1909.
SET check_function_bodies = off;
CREATE SCHEMA hr;
CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped', 'cancelled');
CREATE TYPE contact_info AS (email text, phone text);
CREATE TABLE fired (id serial PRIMARY KEY, what text, at timestamptz DEFAULT now());
CREATE FUNCTION boom(what text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO public.fired(what) VALUES (what); RETURN what; END $$;
CREATE FUNCTION boom_ok(what text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO public.fired(what) VALUES (what); RETURN true; END $$;
CREATE FUNCTION wipe() RETURNS int LANGUAGE sql VOLATILE AS 'DELETE FROM public.small; SELECT 1';
CREATE FUNCTION "json_scalar"(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT public.boom($1)';
CREATE FUNCTION "json_value"(text, text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT public.boom($1)';
CREATE FUNCTION "json_array"(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT public.boom($1)';
CREATE FUNCTION "json_exists"(text, text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT public.boom_ok($1)';
CREATE FUNCTION "json_serialize"(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT public.boom($1)';
CREATE FUNCTION "merge_action"() RETURNS text LANGUAGE sql VOLATILE AS $$SELECT public.boom('m')$$;
CREATE DOMAIN checked AS text CHECK (boom_ok(VALUE));
CREATE DOMAIN checked2 AS checked;
CREATE TYPE with_checked AS (a int, d checked);
CREATE TABLE notes_checked (id int PRIMARY KEY, d checked);
CREATE TYPE checked_range AS RANGE (subtype = text);
CREATE TYPE level AS ENUM ('low', 'high');
CREATE FUNCTION level_cmp(level, level) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM set_config('evil.cmp', 'ran', false); RETURN enum_cmp($1, $2); END $$;
CREATE TYPE price AS (amount numeric, currency text);
CREATE FUNCTION price_text(price) RETURNS text LANGUAGE sql VOLATILE AS $$SELECT public.boom('cast')$$;
CREATE CAST (price AS text) WITH FUNCTION price_text(price) AS IMPLICIT;
CREATE FUNCTION text_price(text) RETURNS price LANGUAGE sql VOLATILE AS $$SELECT ROW(length(public.boom('acast')), 'EUR')::public.price$$;
CREATE CAST (text AS price) WITH FUNCTION text_price(text) AS ASSIGNMENT;
CREATE FUNCTION price_lt(price, price) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO public.fired(what) VALUES ('lt'); RETURN ($1).amount < ($2).amount; END $$;
CREATE FUNCTION price_cmp(price, price) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO public.fired(what) VALUES ('cmp'); RETURN sign(($1).amount - ($2).amount)::int; END $$;
CREATE OPERATOR <<< (LEFTARG = price, RIGHTARG = price, FUNCTION = price_lt);
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = textcat);
CREATE FUNCTION shout(text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT public.boom_ok($1)';
CREATE OPERATOR !! (RIGHTARG = text, FUNCTION = shout);
CREATE FUNCTION shout2(text, text) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT public.boom_ok($1)';
CREATE OPERATOR ~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = shout2);
CREATE OPERATOR hr.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = shout2);
CREATE FUNCTION acc(int, int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
BEGIN INSERT INTO public.fired(what) VALUES ('acc'); RETURN coalesce($1,0) + coalesce($2,0); END $$;
CREATE AGGREGATE badsum(int) (SFUNC = acc, STYPE = int);
CREATE TABLE customers (
  id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, email text NOT NULL UNIQUE, phone text,
  ssn text, date_of_birth date, password_hash text, country text NOT NULL, city text, segment text DEFAULT 'basic',
  notes text, profile jsonb, marketing boolean DEFAULT true, balance numeric(10,2) DEFAULT 0, signup_at timestamptz DEFAULT now(),
  blob_key text GENERATED ALWAYS AS (lower(email)) STORED);
CREATE INDEX customers_country_email ON customers (country, email);
CREATE INDEX customers_lower ON customers (lower(email));
INSERT INTO customers (first_name, last_name, email, phone, ssn, date_of_birth, password_hash, country, city, notes, profile, balance, signup_at)
SELECT 'Fcanary' || g, 'Lcanary' || g, md5(g::text) || '.canary' || g || '@example.org', '+49canary' || g, 'SSNcanary' || g,
  date '1901-01-01' + g, 'HASHcanary' || g, (ARRAY['DE','FR','US'])[g % 3 + 1], (ARRAY['Berlin','Paris','NYC'])[g % 3 + 1],
  'Notecanary' || g, jsonb_build_object('tier', g % 3, 'secret', 'Jcanary' || g), g, timestamptz '2024-01-01' + g * interval '1 hour'
FROM generate_series(1, 300) g;
CREATE TABLE products (id serial PRIMARY KEY, sku text UNIQUE, name text, price numeric(10,2), tags text[], attributes jsonb,
  description text, stock int DEFAULT 0, active boolean DEFAULT true, created_at timestamptz DEFAULT '2024-01-01');
INSERT INTO products (sku, name, price, tags, attributes, description, stock)
SELECT 'SKU' || g, 'Product ' || g, g * 1.5, ARRAY['a','t' || g % 4], jsonb_build_object('color', 'red', 'size', g % 5), 'A fine thing number ' || g, g
FROM generate_series(1, 60) g;
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL REFERENCES customers(id) ON DELETE CASCADE,
  status order_status DEFAULT 'new', total numeric(12,2) DEFAULT 0, placed_at timestamptz DEFAULT now(), placed_on date DEFAULT current_date,
  channel text DEFAULT 'web', placed_by text REFERENCES customers(email) ON UPDATE CASCADE, period tstzrange);
INSERT INTO orders (customer_id, status, total, placed_at, placed_on, channel, placed_by)
SELECT g % 300 + 1, (ARRAY['new','paid','shipped']::order_status[])[g % 3 + 1], g, timestamptz '2024-02-01' + g * interval '3 hours',
  date '2024-02-01' + g % 90, (ARRAY['web','shop'])[g % 2 + 1], (SELECT email FROM customers c WHERE c.id = g % 300 + 1)
FROM generate_series(1, 600) g;
INSERT INTO orders (customer_id, total) SELECT 7, 1 FROM generate_series(1, 200);
CREATE TABLE order_items (order_id bigint REFERENCES orders(id) ON DELETE CASCADE, line int, product_id int REFERENCES products(id), qty int, price numeric(10,2),
  PRIMARY KEY (order_id, line));
INSERT INTO order_items SELECT id, 1, id % 60 + 1, 1 + id % 3, 9.99 FROM orders WHERE id <= 600;
CREATE TABLE small (id int PRIMARY KEY, twin int, name text NOT NULL, active boolean NOT NULL DEFAULT true, status order_status NOT NULL DEFAULT 'new',
  tags text[] DEFAULT '{a}', data jsonb DEFAULT '{"a": 1}', during daterange DEFAULT '[2024-01-01,2024-02-01)', spot point DEFAULT '(1,1)',
  created_at timestamptz NOT NULL DEFAULT '2024-01-01', updated_at timestamptz NOT NULL DEFAULT '2024-01-01', day date NOT NULL DEFAULT '2024-01-01',
  ref_product int NOT NULL DEFAULT 1 REFERENCES products(id), score float8 NOT NULL DEFAULT 1, lv level DEFAULT 'low', pr price DEFAULT ROW(1,'EUR'), net inet);
INSERT INTO small (id, twin, name) SELECT g, g, 'n' || g FROM generate_series(1, 40) g;
CREATE TABLE ids (i int); INSERT INTO ids SELECT generate_series(1, 40);
CREATE TABLE one (x int); INSERT INTO one VALUES (1);
CREATE TABLE ledger (id bigserial PRIMARY KEY, entry text, amount numeric, at timestamptz DEFAULT now());
CREATE TABLE big (id int PRIMARY KEY, n int); INSERT INTO big SELECT g, g FROM generate_series(1, 500) g;
CREATE VIEW v_small AS SELECT id, name FROM small;
CREATE VIEW v_customers AS SELECT id, email AS contact, lower(last_name) AS ln, country, city FROM customers;
CREATE VIEW v_public AS SELECT id, country, city, segment FROM customers;
CREATE MATERIALIZED VIEW mv_customers AS SELECT id, email AS addr, country FROM customers;
CREATE VIEW v_boom AS SELECT id, boom('view') AS b FROM one, LATERAL (SELECT x AS id) s;
CREATE VIEW v_stats AS SELECT schemaname, tablename, attname, most_common_vals::text AS v FROM pg_stats;
CREATE VIEW v_orders AS SELECT o.id, o.total, o.status, c.country FROM orders o JOIN customers c ON c.id = o.customer_id;
CREATE TABLE events (id bigserial, kind text, at timestamptz NOT NULL, payload jsonb, email text) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO events (kind, at, payload, email) SELECT 'click', timestamptz '2024-05-01' + g * interval '1 day', '{"page": "/x"}', 'evcanary' || g || '@x.org' FROM generate_series(1, 50) g;
CREATE TABLE parties (id int PRIMARY KEY, title text, email text);
CREATE TABLE persons (badge text) INHERITS (parties);
INSERT INTO persons VALUES (1, 'Dr', 'inhcanary1@x.org', 'B1'), (2, 'Ms', 'inhcanary2@x.org', 'B2');
CREATE TABLE suppliers (id int PRIMARY KEY, company text, contact contact_info, emails text[], "E-Mail" text, "Telefonnummer" text);
INSERT INTO suppliers SELECT g, 'ACME' || g, ROW('supcanary' || g || '@x.org', '+1canary' || g)::contact_info, ARRAY['arrcanary' || g || '@x.org'],
  'qcanary' || g || '@x.org', '+33canary' || g FROM generate_series(1, 5) g;
CREATE TABLE accounts (id int PRIMARY KEY, owner_details contact_info, opened date);
INSERT INTO accounts SELECT g, ROW('acccanary' || g || '@x.org', '+2canary' || g)::contact_info, '2024-01-01' FROM generate_series(1, 5) g;
CREATE TABLE hr.employees (id serial PRIMARY KEY, full_name text, email text, salary numeric, birth_date date, department text, manager_id int REFERENCES hr.employees, hired_on date);
INSERT INTO hr.employees (full_name, email, salary, birth_date, department, hired_on) SELECT 'Ecanary' || g, 'empcanary' || g || '@x.org', 1000 + g, date '1902-01-01' + g, (ARRAY['it','ops'])[g % 2 + 1], date '2020-01-01' + g FROM generate_series(1, 20) g;
UPDATE hr.employees SET manager_id = 1 WHERE id > 1;
CREATE TABLE audited (id int PRIMARY KEY, v text); INSERT INTO audited SELECT g, 'v' FROM generate_series(1, 5) g;
CREATE FUNCTION audit_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DELETE FROM public.ids'; RETURN new; END $$;
CREATE TRIGGER audit AFTER UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION audit_trg();
CREATE TABLE told (id int PRIMARY KEY, v text); INSERT INTO told VALUES (1, 'x');
CREATE FUNCTION tell_trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'mail %', (SELECT email FROM public.customers ORDER BY id LIMIT 1); RETURN new; END $$;
CREATE TRIGGER tell AFTER UPDATE ON told FOR EACH ROW EXECUTE FUNCTION tell_trg();
CREATE TABLE ruled (id int PRIMARY KEY, v text); INSERT INTO ruled VALUES (1, 'x');
CREATE RULE r AS ON UPDATE TO ruled DO ALSO DELETE FROM public.small;
CREATE TABLE checked_rows (id int PRIMARY KEY, email text, amount int CHECK (amount > 0)); INSERT INTO checked_rows VALUES (1, 'ckcanary1@x.org', 5);
CREATE PROCEDURE purge() LANGUAGE sql AS 'DELETE FROM public.small';
CREATE FUNCTION purge_row(one) RETURNS text LANGUAGE sql VOLATILE AS $$SELECT public.boom('row')$$;
CREATE FUNCTION find_customers() RETURNS SETOF customers LANGUAGE sql STABLE AS 'SELECT * FROM public.customers';
CREATE FUNCTION imm(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT public.boom($1)$$;
CREATE INDEX products_fts ON products USING gin (to_tsvector('english', description));
COMMENT ON COLUMN parties.title IS 'form of address';
SELECT lo_from_bytea(424242, 'LOcanary');
CREATE OPERATOR CLASS price_ops DEFAULT FOR TYPE price USING btree AS OPERATOR 1 <<<, FUNCTION 1 price_cmp(price, price);
CREATE STATISTICS cust_st (mcv) ON country, city FROM customers;
ANALYZE;
