-- Turns a copy of the shop into what a masked caller has to find: marks in the place of values, NULL for NULL.
ALTER TABLE shop.people DROP CONSTRAINT one_each;
ALTER DOMAIN shop.mail DROP CONSTRAINT has_at;
ALTER TABLE shop.accounts ALTER COLUMN place DROP EXPRESSION;
UPDATE shop.people SET
    name = CASE WHEN name IS NOT NULL THEN '[PERSON_NAME]' END,
    email = CASE WHEN email IS NOT NULL THEN '[EMAIL_ADDRESS]' END,
    alias = CASE WHEN alias IS NOT NULL THEN '[EMAIL_ADDRESS]' END,
    code = CASE WHEN code IS NOT NULL THEN '[*]' END,
    short = CASE WHEN short IS NOT NULL THEN '[*]' END,
    born = CASE WHEN born IS NOT NULL THEN date '1970-01-01' END,
    seen = CASE WHEN seen IS NOT NULL THEN timestamptz '1970-01-01 00:00+00' END,
    pay = CASE WHEN pay IS NOT NULL THEN 0 END,
    age = CASE WHEN age IS NOT NULL THEN 0 END,
    score = CASE WHEN score IS NOT NULL THEN 0 END,
    member = CASE WHEN member IS NOT NULL THEN false END,
    token = CASE WHEN token IS NOT NULL THEN '00000000-0000-0000-0000-000000000000'::uuid END,
    ip = CASE WHEN ip IS NOT NULL THEN '0.0.0.0/0'::inet END,
    picture = CASE WHEN picture IS NOT NULL THEN ''::bytea END,
    tags = CASE WHEN tags IS NOT NULL THEN ARRAY['[PERSON_NAME]'] END,
    phones = CASE WHEN phones IS NOT NULL THEN ARRAY['[PHONE_NUMBER]'] END,
    doc = CASE WHEN doc IS NOT NULL THEN '{}'::jsonb END,
    level = NULL, home = NULL,
    years = CASE WHEN years IS NOT NULL THEN 'empty'::int4range END;
UPDATE shop.orders SET email = CASE WHEN email IS NOT NULL THEN '[EMAIL_ADDRESS]' END;
UPDATE shop.accounts SET iban = '[IBAN_CODE]', place = '[IBAN_CODE]';
UPDATE shop.base SET email = '[EMAIL_ADDRESS]';
UPDATE shop.staff SET salary = 0;
UPDATE shop.visits SET phone = '[PHONE_NUMBER]';
UPDATE "Über uns"."Kund""in" SET "E-Mail" = '[EMAIL_ADDRESS]', "größe" = 0;
UPDATE shop.modified SET nick = '[*]', nicks = ARRAY['[*]'], grade = '*', at = '1970-01-01', span = '0', mask = NULL;
UPDATE public.people SET email = '[EMAIL_ADDRESS]';
-- COPY hands rows out in the order in which they lie.
CLUSTER shop.people USING people_pkey;
REFRESH MATERIALIZED VIEW shop.kept;
ANALYZE;
