-- A clinic with a shop: what attempts to see masked values, and honest work, are tried on.
--
-- The first half makes objects and no rows, the second (from the line "-- ROWS" on) fills them. It is run once
-- in each of two databases made from the first half, with another setting make.seed: what is sensitive is
-- made from the seed, everything else is the same in both. So a value is sensitive where the two differ,
-- and whatever a caller can tell the two databases apart by has leaked.
SET check_function_bodies = off;
CREATE SCHEMA clinic;
CREATE SCHEMA hr;
CREATE SCHEMA desk; -- comes before public in the search_path

CREATE DOMAIN email_address AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN phone_number AS varchar(24);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped', 'cancelled');
CREATE TYPE pay_method AS ENUM ('card', 'debit', 'cash');
CREATE TYPE contact_info AS (email text, phone text);
CREATE TYPE address AS (street text, city text, zip text);
CREATE TYPE size_box AS (width int, height int);

-- ---- people -------------------------------------------------------------------------------------------

CREATE TABLE customers (
  id serial PRIMARY KEY,
  first_name text NOT NULL,
  last_name varchar(40) NOT NULL,
  email email_address NOT NULL UNIQUE,
  phone phone_number,
  date_of_birth date,
  national_id text,
  password_hash text,
  iban text,
  street text,
  city text,
  country char(2) NOT NULL,
  segment text NOT NULL DEFAULT 'basic',
  loyalty_points int NOT NULL DEFAULT 0,
  marketing_opt_in boolean NOT NULL DEFAULT true,
  notes text,
  profile jsonb,
  interests text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT '2024-01-01 00:00+00',
  deleted_at timestamptz,
  email_key text GENERATED ALWAYS AS (lower(email::text)) STORED,
  CONSTRAINT adult CHECK (date_of_birth < '2006-01-01'),
  CONSTRAINT points CHECK (loyalty_points >= 0));
CREATE UNIQUE INDEX customers_phone_live ON customers (phone) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX customers_national ON customers (country, lower(national_id));
CREATE INDEX customers_country_last ON customers (country, last_name);
CREATE STATISTICS customers_mcv (mcv, ndistinct) ON country, last_name FROM customers;

CREATE TABLE customer_attributes ( -- entity, attribute, value
  customer_id int NOT NULL REFERENCES customers ON DELETE CASCADE,
  attribute text NOT NULL,
  value text,
  PRIMARY KEY (customer_id, attribute));

CREATE TABLE "Kunden Über" (
  "Nr" int PRIMARY KEY,
  "Vorname" text,
  "Nachname" text,
  "E-Mail" text,
  "Telefonnummer" text,
  "Straße" text,
  "PLZ" text,
  "Ort" text,
  "Geburtsdatum" date,
  "Umsatz" numeric(10,2));

CREATE TABLE hr.people (id int PRIMARY KEY, full_name text NOT NULL, email text NOT NULL, joined_on date);
CREATE TABLE hr.employees (
  salary numeric(12,2), ssn char(11), department text, manager_id int, work_email text UNIQUE,
  PRIMARY KEY (id)) INHERITS (hr.people);
CREATE TABLE hr.contractors (agency text, tax_id text, PRIMARY KEY (id)) INHERITS (hr.people);
ALTER TABLE hr.employees ADD FOREIGN KEY (manager_id) REFERENCES hr.employees;

CREATE TABLE hr.staff_notes (
  id int PRIMARY KEY, employee_id int REFERENCES hr.employees, author text NOT NULL, body text, kind text);
ALTER TABLE hr.staff_notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON hr.staff_notes USING (author = current_user);

CREATE TABLE clinic.patients (
  id int PRIMARY KEY,
  mrn text UNIQUE,
  full_name text NOT NULL,
  birth_date date,
  insurance_number text,
  diagnosis text,
  emergency contact_info,
  customer_email email_address REFERENCES customers (email) ON UPDATE CASCADE,
  ward text NOT NULL DEFAULT 'north',
  admitted_on date);
COMMENT ON TABLE clinic.patients IS 'everybody who was ever treated';
COMMENT ON COLUMN clinic.patients.ward IS 'north, south or day';

CREATE TABLE clinic.visits (
  id int NOT NULL,
  patient_id int NOT NULL,
  visited_on date NOT NULL,
  ward text NOT NULL,
  doctor_email text,
  diagnosis text,
  fee numeric(8,2),
  PRIMARY KEY (id, visited_on, ward)) PARTITION BY RANGE (visited_on);
CREATE TABLE clinic.visits_2024 PARTITION OF clinic.visits
  FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (ward);
CREATE TABLE clinic.visits_2024_north PARTITION OF clinic.visits_2024 FOR VALUES IN ('north');
CREATE TABLE clinic.visits_2024_rest PARTITION OF clinic.visits_2024 DEFAULT;
CREATE TABLE clinic.visits_2025 PARTITION OF clinic.visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');

CREATE TABLE clinic.prescriptions (
  id int PRIMARY KEY, patient_id int REFERENCES clinic.patients, drug_code text, doses positive,
  remark text, valid daterange);
COMMENT ON COLUMN clinic.prescriptions.remark IS 'pii: what the doctor wrote about the patient';

CREATE TABLE clinic.rooms (id int PRIMARY KEY, label text, floor int, free tsrange, box size_box);

-- ---- the shop -----------------------------------------------------------------------------------------

CREATE TABLE products (
  id serial PRIMARY KEY, sku text UNIQUE, name text NOT NULL, price numeric(10,2) NOT NULL, tags text[],
  attributes jsonb, description text, stock int NOT NULL DEFAULT 0, active boolean NOT NULL DEFAULT true,
  released_on date, search tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(description, ''))) STORED);
CREATE INDEX products_search ON products USING gin (search);

CREATE TABLE orders (
  id bigserial PRIMARY KEY,
  customer_id int NOT NULL REFERENCES customers ON DELETE CASCADE,
  placed_by email_address REFERENCES customers (email) ON UPDATE CASCADE,
  status order_status NOT NULL DEFAULT 'new',
  total numeric(12,2) NOT NULL DEFAULT 0,
  placed_at timestamptz NOT NULL DEFAULT '2024-06-01 00:00+00',
  placed_on date NOT NULL DEFAULT '2024-06-01',
  channel text NOT NULL DEFAULT 'web',
  ship_to address,
  contact_phone text,
  period tstzrange,
  CONSTRAINT total_positive CHECK (total >= 0));
CREATE INDEX orders_customer ON orders (customer_id);

CREATE TABLE order_items (
  order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE, line int NOT NULL,
  product_id int NOT NULL REFERENCES products, qty int NOT NULL, price numeric(10,2) NOT NULL,
  PRIMARY KEY (order_id, line));

CREATE TABLE payments (
  id serial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, method pay_method NOT NULL,
  card_number text, card_holder text, iban text, amount numeric(10,2) NOT NULL, paid_at timestamptz);

CREATE TABLE reviews (
  id serial PRIMARY KEY, product_id int NOT NULL REFERENCES products, rating int NOT NULL CHECK (rating BETWEEN 1 AND 5),
  reviewer_email text, posted_on date);

CREATE TABLE suppliers (
  id int PRIMARY KEY, company text, contact contact_info, emails text[], "E-Mail" text, country char(2), rating int);

CREATE TABLE sessions (
  id int PRIMARY KEY, customer_id int REFERENCES customers, session_token text UNIQUE, ip_address inet,
  started_at timestamptz, pages int);

CREATE TABLE api_keys (id int PRIMARY KEY, label text, api_key uuid, secret bytea, active boolean, rate_limit int);

CREATE TABLE tickets (
  id int PRIMARY KEY, customer_id int REFERENCES customers, status text, priority int, opened_at timestamptz, tags text[]);
CREATE TABLE messages (id int PRIMARY KEY, ticket_id int REFERENCES tickets, sender_email text, body text, sent_at timestamptz);

CREATE TABLE events (id int NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, page text, client_ip inet, ms int)
  PARTITION BY LIST (kind);
CREATE TABLE events_click PARTITION OF events FOR VALUES IN ('click', 'view');
CREATE TABLE events_other PARTITION OF events DEFAULT;

CREATE TABLE catalogue (id int PRIMARY KEY, document jsonb NOT NULL, revised_on date);
CREATE TABLE scratch (id int PRIMARY KEY, label text, n numeric, data jsonb, day date, words text[]);
CREATE TABLE stock_moves (id int PRIMARY KEY, product_id int REFERENCES products, delta int, moved_at timestamptz);

CREATE TABLE audit_log (id serial PRIMARY KEY, table_name text, operation text, row_data jsonb, changed_at timestamptz DEFAULT '2024-01-01');

-- What the server computes by itself answers for both of the values it computes with.
CREATE TABLE hr.offers (
  id int PRIMARY KEY, given_name text, family_name text, salary int, asked int NOT NULL DEFAULT 0, round int NOT NULL DEFAULT 1,
  shown text GENERATED ALWAYS AS (coalesce(given_name, '') || ' ' || coalesce(family_name, '')) STORED,
  CONSTRAINT within CHECK (asked < salary));
CREATE UNIQUE INDEX offers_round ON hr.offers (round, salary);
CREATE TABLE hr.payslips (
  id int PRIMARY KEY, gross_salary numeric(10,2), net_salary numeric(10,2), factor int NOT NULL DEFAULT 1,
  tax numeric(10,2) GENERATED ALWAYS AS (gross_salary - net_salary) STORED,
  scaled int GENERATED ALWAYS AS ((gross_salary * factor)::int) STORED);
CREATE TABLE hr.steps (id int PRIMARY KEY, salary int, base int NOT NULL DEFAULT 0);
CREATE INDEX steps_ratio ON hr.steps ((1000 / (salary - base)));
CREATE TABLE hr.dues (id int PRIMARY KEY, owner_email text, seen int);
CREATE FUNCTION hr.check_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'due %', (SELECT owner_email FROM hr.dues WHERE id = NEW.id); END $$;
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON hr.dues DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hr.check_due();

-- What the server fills in, moves along and keeps apart by itself.
CREATE FUNCTION hr.usual_pay() RETURNS int LANGUAGE sql STABLE AS 'SELECT max(salary) FROM hr.steps';
CREATE DOMAIN hr.usual AS int DEFAULT hr.usual_pay();
CREATE TABLE hr.grades (id int PRIMARY KEY, base int DEFAULT hr.usual_pay(), label text NOT NULL DEFAULT 'none');
CREATE TABLE hr.caps (id int PRIMARY KEY, cap hr.usual, label text);
CREATE VIEW hr.v_grades AS SELECT id, base, label FROM hr.grades;
ALTER VIEW hr.v_grades ALTER COLUMN base SET DEFAULT hr.usual_pay();
CREATE TABLE hr.levels (k int PRIMARY KEY);
CREATE TABLE hr.levelled (id int PRIMARY KEY,
  k int DEFAULT hr.usual_pay() REFERENCES hr.levels ON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE hr.ranks (
  id int PRIMARY KEY, boss_id int REFERENCES hr.ranks ON UPDATE CASCADE, salary int, CHECK (boss_id < salary));
CREATE TABLE hr.leases (id int PRIMARY KEY, ip_address inet, host text, EXCLUDE USING gist (ip_address inet_ops WITH &&));
CREATE TABLE hr.sittings (
  id int PRIMARY KEY, guest_email text, begins timestamp, ends timestamp, seats int,
  EXCLUDE USING gist (tsrange(begins, ends) WITH &&));
CREATE TABLE hr.bonuses (id int NOT NULL, salary int NOT NULL, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (salary);
CREATE TABLE hr.bonuses_low PARTITION OF hr.bonuses FOR VALUES FROM (MINVALUE) TO (74500000);
CREATE TABLE hr.bonuses_high PARTITION OF hr.bonuses FOR VALUES FROM (74500000) TO (MAXVALUE);

-- ---- views --------------------------------------------------------------------------------------------

CREATE VIEW v_customers AS SELECT id, email AS contact, country, segment, loyalty_points FROM customers;
CREATE VIEW v_nested AS SELECT v.id, v.contact AS whom, v.country FROM v_customers v WHERE v.loyalty_points >= 0;
CREATE VIEW v_renamed (a, b, c) AS SELECT id, last_name, country FROM customers;
CREATE VIEW v_computed AS SELECT id, upper(last_name) AS shown, split_part(email, '@', 1) AS box,
  extract(year FROM date_of_birth)::int AS y, country FROM customers;
CREATE VIEW v_barrier WITH (security_barrier) AS SELECT id, phone AS line, city FROM customers WHERE deleted_at IS NULL;
CREATE VIEW v_public AS SELECT id, country, city, segment, loyalty_points FROM customers;
CREATE VIEW v_orders AS SELECT o.id, o.total, o.status, o.placed_on, c.country FROM orders o JOIN customers c ON c.id = o.customer_id;
CREATE VIEW v_everybody AS SELECT id, email AS who FROM customers UNION ALL SELECT id, email FROM hr.people;
CREATE VIEW v_top AS SELECT country, max(email::text) AS last, count(*) AS n FROM customers GROUP BY country;
CREATE VIEW v_row AS SELECT c.id, c AS whole FROM customers c;
CREATE VIEW v_json AS SELECT id, to_jsonb(c) - 'id' AS doc FROM customers c;
CREATE VIEW v_sales AS SELECT placed_on, count(*) AS orders, sum(total) AS revenue FROM orders GROUP BY placed_on;
CREATE VIEW "Übersicht" AS SELECT "Nr", "E-Mail" AS "Kürzel", "Ort" FROM "Kunden Über";
CREATE MATERIALIZED VIEW mv_customers AS SELECT id, email AS addr, country FROM customers WITH NO DATA;
CREATE UNIQUE INDEX mv_customers_id ON mv_customers (id);
CREATE MATERIALIZED VIEW mv_sales AS SELECT customer_id, count(*) AS orders, sum(total) AS revenue FROM orders GROUP BY customer_id WITH NO DATA;
CREATE MATERIALIZED VIEW mv_initials AS SELECT id, left(last_name, 3) AS short FROM customers WITH NO DATA;
CREATE VIEW desk.suppliers AS SELECT id, company, "E-Mail" AS remark, (contact).phone AS line FROM public.suppliers;
CREATE TABLE desk.regions (id int PRIMARY KEY, code char(2), label text);
CREATE VIEW desk.overview AS SELECT r.label, c.email AS address_line FROM desk.regions r JOIN public.customers c ON c.country = r.code;

-- ---- functions ----------------------------------------------------------------------------------------

CREATE FUNCTION net(gross numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT round(gross / 1.19, 2)';
CREATE FUNCTION find_customers(c text) RETURNS SETOF customers LANGUAGE sql STABLE AS 'SELECT * FROM public.customers WHERE country = c';
CREATE FUNCTION customer_email(i int) RETURNS text LANGUAGE sql STABLE AS 'SELECT email FROM public.customers WHERE id = i';
CREATE FUNCTION mailing(c text) RETURNS TABLE (n int, line text) LANGUAGE sql STABLE
  AS $$SELECT id, last_name || ' <' || email || '>' FROM public.customers WHERE country = c$$;
CREATE FUNCTION plain_mailing(c text) RETURNS TABLE (n int, pts int) LANGUAGE sql STABLE
  AS $$SELECT id, loyalty_points FROM public.customers WHERE country = c$$;
CREATE FUNCTION initials(c customers) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT left($1.first_name, 1) || left($1.last_name, 1)$$;
CREATE FUNCTION mail_of(c customers) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1.email::text$$;
CREATE FUNCTION rows_pl(c text) RETURNS SETOF customers LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN QUERY SELECT * FROM public.customers WHERE country = c; END $$;
CREATE FUNCTION email_pl(i int) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE found text; BEGIN SELECT email INTO found FROM public.customers WHERE id = i; RETURN found; END $$;
CREATE FUNCTION run_dynamic(what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN RETURN QUERY EXECUTE what; END $$;
CREATE FUNCTION column_of(t text, col text, i int) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE r text; BEGIN EXECUTE format('SELECT %I::text FROM %I WHERE id = $1', col, t) INTO r USING i; RETURN r; END $$;
CREATE FUNCTION as_definer(i int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
  AS 'SELECT iban FROM public.customers WHERE id = i';
CREATE FUNCTION guess(i int, what text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT email = what FROM public.customers WHERE id = i';
CREATE FUNCTION peek(value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS $$
BEGIN RAISE NOTICE 'peek %', value; RETURN true; END $$;
CREATE FUNCTION same(a text, b text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT a = b';
CREATE OPERATOR ~== (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
CREATE FUNCTION longest(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT CASE WHEN length($1) > length($2) THEN $1 ELSE $2 END';
CREATE AGGREGATE longest_of (text) (SFUNC = longest, STYPE = text);
CREATE PROCEDURE tell_all() LANGUAGE plpgsql AS $$
DECLARE r record; BEGIN FOR r IN SELECT * FROM public.customers LOOP RAISE NOTICE '%', r; END LOOP; END $$;

CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.audit_log (table_name, operation, row_data) VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(OLD));
  RETURN NEW;
END $$;
CREATE TRIGGER audit AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION audit_change();
CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'ticket % of %', NEW.id, (SELECT email FROM public.customers WHERE id = NEW.customer_id); RETURN NEW; END $$;
CREATE TRIGGER tell BEFORE UPDATE ON tickets FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('reviews', NEW.reviewer_email); RETURN NEW; END $$;
CREATE TRIGGER announce AFTER UPDATE ON reviews FOR EACH ROW EXECUTE FUNCTION announce();
CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.amount > 9000 THEN RAISE EXCEPTION 'card % of % refused', NEW.card_number, NEW.card_holder
  USING DETAIL = NEW.iban, HINT = NEW.card_number; END IF; RETURN NEW; END $$;
CREATE TRIGGER forbid BEFORE INSERT OR UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION forbid();

-- ROWS
CREATE SCHEMA make;
-- Consonants, so that no English word holds six characters of one.
CREATE FUNCTION make.word(cell text) RETURNS text LANGUAGE sql AS $$
  SELECT translate(substr(md5(cell || current_setting('make.seed')), 1, 10), '0123456789abcdef', 'qzxjkvwfbgpmhnrd') $$;
-- The first digit is never 0: a number keeps its length.
CREATE FUNCTION make.digits(cell text, n int) RETURNS text LANGUAGE sql AS $$
  SELECT '7' || substr(translate(md5(cell || current_setting('make.seed')), 'abcdef', '824613'), 1, n - 1) $$;
CREATE FUNCTION make.day(cell text) RETURNS date LANGUAGE sql AS $$
  SELECT date '1905-01-01' + (('x' || substr(md5(cell || current_setting('make.seed')), 1, 6))::bit(24)::int % 20000) $$;
CREATE FUNCTION make.mail(cell text) RETURNS text LANGUAGE sql AS $$SELECT make.word(cell) || '@example.org'$$;
CREATE FUNCTION make.ip(cell text) RETURNS inet LANGUAGE sql AS $$
  SELECT inet '10.100.100.100' + (('x' || substr(md5(cell || current_setting('make.seed')), 1, 5))::bit(20)::int) $$;

ALTER TABLE customers DISABLE TRIGGER USER;
INSERT INTO customers (first_name, last_name, email, phone, date_of_birth, national_id, password_hash, iban, street, city, country,
  segment, loyalty_points, marketing_opt_in, notes, profile, interests, created_at, deleted_at)
SELECT make.word('c.first' || g), make.word('c.last' || g), make.mail('c.email' || g),
  CASE WHEN g % 10 <> 0 THEN '+49' || make.digits('c.phone' || g, 10) END, make.day('c.birth' || g), make.digits('c.nat' || g, 12),
  '$2b$12$' || make.word('c.hash' || g) || make.word('c.hash.' || g), 'DE' || make.digits('c.iban' || g, 20), make.word('c.street' || g) || ' 5',
  (ARRAY['Berlin','Paris','Boston'])[g % 3 + 1], (ARRAY['DE','FR','US'])[g % 3 + 1], (ARRAY['basic','gold'])[g % 2 + 1], g * 5,
  g % 4 <> 0, 'called ' || make.word('c.notes' || g) || ' back', jsonb_build_object('nickname', make.word('c.nick' || g),
    'contact', jsonb_build_object('email', make.mail('c.pmail' || g), 'phones', jsonb_build_array(make.digits('c.pphone' || g, 10)))),
  ARRAY['tea', 'topic' || g % 5], timestamptz '2024-01-01 00:00+00' + g * interval '26 hours', CASE WHEN g % 8 = 0 THEN timestamptz '2024-12-01 00:00+00' END
FROM generate_series(1, 30) g;
ALTER TABLE customers ENABLE TRIGGER USER;

INSERT INTO customer_attributes
SELECT g, 'shoe_size', (36 + g % 8)::text FROM generate_series(1, 30) g
UNION ALL SELECT g, 'email', make.mail('a.email' || g) FROM generate_series(1, 30) g
UNION ALL SELECT g, 'mobile_phone', '+49' || make.digits('a.phone' || g, 10) FROM generate_series(1, 30) g;

INSERT INTO "Kunden Über"
SELECT g, make.word('k.vor' || g), make.word('k.nach' || g), make.mail('k.mail' || g), '030 ' || make.digits('k.tel' || g, 8), make.word('k.str' || g) || 'weg 3',
  make.digits('k.plz' || g, 5), 'Ort' || g % 3, make.day('k.geb' || g), g * 10.5 FROM generate_series(1, 8) g;

INSERT INTO hr.people SELECT g, make.word('p.name' || g) || ' ' || make.word('p.last' || g), make.mail('p.mail' || g), date '2020-01-01' + g FROM generate_series(1, 4) g;
INSERT INTO hr.employees (id, full_name, email, joined_on, salary, ssn, department, manager_id, work_email)
SELECT g, make.word('e.name' || g) || ' ' || make.word('e.last' || g), make.mail('e.mail' || g), date '2021-01-01' + g,
  make.digits('e.pay' || g, 8)::numeric, substr(make.digits('e.ssn' || g, 9), 1, 3) || '-' || substr(make.digits('e.ssn2' || g, 9), 1, 2) || '-' || substr(make.digits('e.ssn3' || g, 9), 1, 4),
  (ARRAY['ops','care','shop'])[g % 3 + 1], CASE WHEN g > 11 THEN 11 END, make.mail('e.work' || g) FROM generate_series(11, 20) g;
INSERT INTO hr.contractors SELECT g, make.word('x.name' || g), make.mail('x.mail' || g), date '2022-01-01' + g, 'Agency ' || g, make.digits('x.tax' || g, 10) FROM generate_series(31, 33) g;
INSERT INTO hr.staff_notes SELECT g, 10 + g, (ARRAY['postgres','somebody'])[g % 2 + 1], 'said ' || make.word('n.body' || g), 'talk' FROM generate_series(1, 6) g;

INSERT INTO clinic.patients
SELECT g, 'MRN' || make.digits('t.mrn' || g, 8), make.word('t.name' || g) || ' ' || make.word('t.last' || g), make.day('t.birth' || g), make.digits('t.ins' || g, 10),
  make.word('t.diag' || g), ROW(make.mail('t.em' || g), '+49' || make.digits('t.eph' || g, 10))::contact_info,
  (SELECT email FROM customers WHERE id = g), (ARRAY['north','south','day'])[g % 3 + 1], date '2024-01-01' + g FROM generate_series(1, 12) g;
INSERT INTO clinic.visits SELECT g, g % 12 + 1, date '2024-01-10' + g * 20, (ARRAY['north','south','day'])[g % 3 + 1], make.mail('v.doc' || g),
  make.word('v.diag' || g), g * 10 FROM generate_series(1, 24) g;
INSERT INTO clinic.prescriptions SELECT g, g % 12 + 1, 'D' || g % 4, g % 3 + 1, 'take ' || make.word('r.remark' || g), daterange(date '2024-01-01' + g, date '2024-02-01' + g)
FROM generate_series(1, 15) g;
INSERT INTO clinic.rooms SELECT g, 'Room ' || g, g % 3, tsrange(timestamp '2024-01-01' + g * interval '1 hour', timestamp '2024-01-02'), ROW(g, g + 1)::size_box FROM generate_series(1, 6) g;

INSERT INTO products (sku, name, price, tags, attributes, description, stock, released_on)
SELECT 'SKU' || g, 'Product ' || g, g * 1.5, ARRAY['all', 'group' || g % 4], jsonb_build_object('color', (ARRAY['red','blue'])[g % 2 + 1], 'size', g % 5, 'dims', jsonb_build_object('w', g)),
  'A fine thing number ' || g, g * 3, date '2023-01-01' + g FROM generate_series(1, 20) g;
INSERT INTO orders (customer_id, placed_by, status, total, placed_at, placed_on, channel, ship_to, contact_phone, period)
SELECT g % 30 + 1, (SELECT email FROM customers WHERE id = g % 30 + 1), (ARRAY['new','paid','shipped']::order_status[])[g % 3 + 1], g * 2.5,
  timestamptz '2024-02-01 00:00+00' + g * interval '7 hours', date '2024-02-01' + g % 90, (ARRAY['web','shop'])[g % 2 + 1],
  ROW(make.word('o.street' || g), 'Berlin', make.digits('o.zip' || g, 5))::address, '+49' || make.digits('o.phone' || g, 10),
  tstzrange(timestamptz '2024-02-01 00:00+00', timestamptz '2024-02-01 00:00+00' + g * interval '1 hour') FROM generate_series(1, 60) g;
INSERT INTO order_items SELECT o.id, n, (o.id + n) % 20 + 1, 1 + o.id % 3, 9.99 FROM orders o, generate_series(1, 2) n;
INSERT INTO payments (order_id, method, card_number, card_holder, iban, amount, paid_at)
SELECT g, (ARRAY['card','debit','cash']::pay_method[])[g % 3 + 1], make.digits('y.card' || g, 16), make.word('y.holder' || g), 'FR' || make.digits('y.iban' || g, 20), g * 2.5,
  timestamptz '2024-03-01 00:00+00' + g * interval '1 day' FROM generate_series(1, 30) g;
INSERT INTO reviews (product_id, rating, reviewer_email, posted_on) SELECT g % 20 + 1, g % 5 + 1, make.mail('w.mail' || g), date '2024-04-01' + g FROM generate_series(1, 20) g;
INSERT INTO public.suppliers SELECT g, 'Company ' || g, ROW(make.mail('s.mail' || g), '+33' || make.digits('s.phone' || g, 9))::contact_info,
  ARRAY[make.mail('s.m1' || g), make.mail('s.m2' || g)], make.mail('s.m3' || g), 'FR', g FROM generate_series(1, 6) g;
INSERT INTO sessions SELECT g, g, make.word('z.token' || g) || make.word('z.token.' || g), make.ip('z.ip' || g), timestamptz '2024-05-01 00:00+00' + g * interval '1 hour', g * 3 FROM generate_series(1, 12) g;
INSERT INTO api_keys SELECT g, 'key of system ' || g, md5('u' || g || current_setting('make.seed'))::uuid, convert_to(make.word('b.secret' || g), 'UTF8'), g % 2 = 0, g * 100 FROM generate_series(1, 5) g;
INSERT INTO tickets SELECT g, g, (ARRAY['open','closed'])[g % 2 + 1], g % 3, timestamptz '2024-06-01 00:00+00' + g * interval '1 day', ARRAY['billing'] FROM generate_series(1, 15) g;
INSERT INTO messages SELECT g, g % 15 + 1, make.mail('m.mail' || g), 'please call ' || make.word('m.body' || g), timestamptz '2024-06-02 00:00+00' + g * interval '1 day' FROM generate_series(1, 20) g;
INSERT INTO events SELECT g, (ARRAY['click','view','other'])[g % 3 + 1], timestamptz '2024-07-01 00:00+00' + g * interval '1 hour', '/page' || g % 4, make.ip('v.ip' || g), g FROM generate_series(1, 30) g;
INSERT INTO catalogue SELECT g, jsonb_build_object('title', 'Thing ' || g, 'price', g, 'parts', jsonb_build_array('a', 'b')), date '2024-01-01' + g FROM generate_series(1, 10) g;
INSERT INTO scratch SELECT g, 'label ' || g, g, jsonb_build_object('a', g), date '2024-01-01' + g, ARRAY['x'] FROM generate_series(1, 10) g;
INSERT INTO stock_moves SELECT g, g % 20 + 1, g % 7 - 3, timestamptz '2024-01-01 00:00+00' + g * interval '1 day' FROM generate_series(1, 20) g;
INSERT INTO desk.regions VALUES (1, 'DE', 'Germany'), (2, 'FR', 'France'), (3, 'US', 'United States');
INSERT INTO audit_log (table_name, operation, row_data) SELECT 'customers', 'UPDATE', to_jsonb(c) FROM customers c WHERE id <= 3;
INSERT INTO hr.offers (id, given_name, family_name, salary, round) SELECT g, make.word('f.given' || g), make.word('f.family' || g), make.digits('f.pay' || g, 8)::int, g FROM generate_series(1, 6) g;
INSERT INTO hr.payslips (id, gross_salary, net_salary) SELECT g, make.digits('h.gross' || g, 8)::numeric, make.digits('h.net' || g, 7)::numeric FROM generate_series(1, 6) g;
INSERT INTO hr.steps SELECT g, make.digits('i.pay' || g, 8)::int FROM generate_series(1, 6) g;
INSERT INTO hr.dues SELECT g, make.mail('j.due' || g), 0 FROM generate_series(1, 4) g;
INSERT INTO hr.grades VALUES (1, 1, 'first'), (2, 2, 'second');
INSERT INTO hr.caps VALUES (1, 1, 'first');
INSERT INTO hr.levels VALUES (1), (2);
INSERT INTO hr.levelled VALUES (1, 1), (2, 2);
INSERT INTO hr.ranks SELECT g, CASE WHEN g > 3 THEN g - 3 END, make.digits('q.pay' || g, 8)::int FROM generate_series(1, 6) g;
INSERT INTO hr.leases VALUES (1, make.ip('l.ip1'), 'front'), (2, NULL, 'back');
INSERT INTO hr.sittings SELECT g, make.mail('o.guest' || g), timestamp '2024-01-01' + g * interval '2 hours', timestamp '2024-01-01 01:00' + g * interval '2 hours', 2 FROM generate_series(1, 4) g;
INSERT INTO hr.bonuses SELECT g, make.digits('u.pay' || g, 8)::int, g FROM generate_series(1, 12) g;
REFRESH MATERIALIZED VIEW mv_customers;
REFRESH MATERIALIZED VIEW mv_sales;
REFRESH MATERIALIZED VIEW mv_initials;
DROP SCHEMA make CASCADE;
ANALYZE;
