-- A shop whose columns have types of every kind. masking_redact_marks.sql makes the twin of it that holds
-- marks in the place of values.
CREATE SCHEMA shop;
CREATE SCHEMA "Über uns";
CREATE DOMAIN shop.mail AS text CONSTRAINT has_at CHECK (VALUE LIKE '%@%');
CREATE TYPE shop.level AS ENUM ('low', 'high');
CREATE TYPE shop.place AS (street text, city text);
CREATE TABLE shop.people (
    id int PRIMARY KEY,
    name text,
    email varchar(40) CONSTRAINT one_each UNIQUE,
    alias shop.mail,
    code char(12),
    short varchar(5),
    born date,
    seen timestamptz,
    pay numeric(10, 2),
    age int,
    score float8,
    member boolean,
    token uuid,
    ip inet,
    picture bytea,
    tags text[],
    phones varchar(20)[],
    doc jsonb,
    level shop.level,
    home shop.place,
    years int4range,
    country text,
    boss int
);
CREATE INDEX people_country ON shop.people (country);
CREATE TABLE shop.orders (
    id int PRIMARY KEY, person_id int, total numeric(10, 2), country text, email varchar(40)
);
CREATE INDEX orders_person ON shop.orders (person_id);
CREATE TABLE shop.accounts (
    id int PRIMARY KEY, person_id int, iban text, place text GENERATED ALWAYS AS (left(iban, 2)) STORED, kind text
);
CREATE TABLE shop.base (id int, email text, kind text);
CREATE TABLE shop.staff (salary numeric(8, 2)) INHERITS (shop.base);
CREATE TABLE shop.visits (id int, day date, phone text, kind text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE shop.visits_1 PARTITION OF shop.visits FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
CREATE TABLE shop.visits_2 PARTITION OF shop.visits FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
CREATE TABLE "Über uns"."Kund""in" (id int PRIMARY KEY, "E-Mail" text, "größe" int, "select" text);
CREATE TABLE shop.plain (id int PRIMARY KEY, note text);
CREATE DOMAIN shop.handle AS varchar(10);
CREATE DOMAIN shop.nickname AS shop.handle;
CREATE TABLE shop.modified (
    id int PRIMARY KEY, nick shop.nickname, nicks varchar(6)[], grade "char", at timestamp(3), span interval second(2), mask bit(3),
    twice int GENERATED ALWAYS AS (id * 2) STORED
);
CREATE TABLE public.people (id int PRIMARY KEY, email text, size int);
CREATE VIEW shop.directory AS SELECT id, name AS who, email AS contact, country FROM shop.people;
CREATE VIEW shop.mailing AS SELECT id, contact AS address FROM shop.directory WHERE contact IS NOT NULL;
CREATE FUNCTION shop.initial(shop.people) RETURNS text LANGUAGE sql STABLE AS 'SELECT left($1.name, 1)';

INSERT INTO shop.people
SELECT g, 'Ada Canary' || g,
    CASE WHEN g % 5 = 0 THEN NULL ELSE 'canary' || g || '@example.com' END,
    CASE WHEN g % 4 = 0 THEN NULL ELSE 'alias.canary' || g || '@example.com' END,
    'cnry' || g, 'cn' || g, date '1980-01-01' + g, timestamptz '2020-01-01 00:00+00' + g * interval '1 day',
    1000.25 + g, 20 + g % 40, g / 7.0, g % 2 = 0, ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid,
    ('10.0.0.' || g)::inet, convert_to('canary' || g, 'UTF8'),
    CASE WHEN g % 6 = 0 THEN NULL ELSE ARRAY['canary' || g, 'b'] END, ARRAY['+49' || g, NULL],
    jsonb_build_object('email', 'canary' || g, 'list', jsonb_build_array(g)),
    (CASE WHEN g % 2 = 0 THEN 'low' ELSE 'high' END)::shop.level,
    ROW('Canary St ' || g, 'Ulm')::shop.place, int4range(g, g + 10),
    (ARRAY['DE', 'FR', 'IT'])[1 + g % 3], NULLIF(g / 3, 0)
FROM generate_series(1, 60) AS g;
INSERT INTO shop.orders
SELECT g, 1 + g % 60, g * 1.5, (ARRAY['DE', 'FR'])[1 + g % 2], 'canary' || (1 + g % 60) || '@example.com'
FROM generate_series(1, 150) AS g;
INSERT INTO shop.accounts (id, person_id, iban, kind)
SELECT g, g, 'DE89CANARY' || g, (ARRAY['a', 'b'])[1 + g % 2] FROM generate_series(1, 20) AS g;
INSERT INTO shop.base SELECT g, 'canary.b' || g || '@example.com', 'base' FROM generate_series(1, 5) AS g;
INSERT INTO shop.staff SELECT g, 'canary.s' || g || '@example.com', 'staff', 100 + g FROM generate_series(6, 9) AS g;
INSERT INTO shop.visits
SELECT g, date '2024-01-01' + g * 20, '+49canary' || g, (ARRAY['a', 'b'])[1 + g % 2] FROM generate_series(1, 15) AS g;
INSERT INTO "Über uns"."Kund""in" SELECT g, 'canary.ü' || g, g * 10, 's' || g FROM generate_series(1, 6) AS g;
INSERT INTO shop.modified
SELECT g, 'canary' || g, ARRAY['cnry' || g], 'c', timestamp '2020-01-01' + g * interval '1 day', g * interval '1 second', B'101'
FROM generate_series(1, 4) AS g;
INSERT INTO shop.plain SELECT g, 'note ' || g FROM generate_series(1, 6) AS g;
INSERT INTO public.people SELECT g, 'canary.p' || g, g FROM generate_series(1, 6) AS g;
CREATE MATERIALIZED VIEW shop.kept AS SELECT id, email, country FROM shop.people;
ANALYZE;
