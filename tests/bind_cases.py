"""A shop with sensitive columns, seen through views, inheritance and temporary tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen

from governed_db.catalog import queries
from governed_db.catalog.bind import bind
from governed_db.catalog.bound import Bound, Source
from governed_db.catalog.model import Catalog, Session
from governed_db.catalog.snapshot import build
from governed_db.masking.model import MaskPlan, Sensitivity, Strategy, Terms, Treatment
from governed_db.masking.plan import plan
from governed_db.statement import read

CORPUS = Path(__file__).with_name("corpus")

SCHEMA = """
CREATE TYPE public.address AS (street text, city text);
CREATE TABLE public.customers (
    id bigint PRIMARY KEY, name text, email text UNIQUE, phone text, country text,
    notes text, profile jsonb, home public.address
);
CREATE TABLE public.orders (
    id bigint PRIMARY KEY, customer_id bigint REFERENCES public.customers, total numeric(10, 2)
);
CREATE TABLE public.contacts (customer_id bigint PRIMARY KEY, email text, note text);
CREATE VIEW public.directory AS SELECT id, name, email AS contact FROM public.customers;
CREATE VIEW public.mailing AS SELECT id, contact AS address FROM public.directory WHERE contact IS NOT NULL;
CREATE VIEW public.domains AS SELECT id, split_part(email, '@', 2) AS domain, country FROM public.customers;
CREATE VIEW public.countries AS SELECT country, count(*) AS n FROM public.customers GROUP BY country;
CREATE VIEW public.ranked AS SELECT id, rank() OVER w AS place FROM public.customers
    WINDOW w AS (ORDER BY email);
CREATE VIEW public.flagged AS SELECT o.id,
    EXISTS (SELECT 1 FROM public.customers c WHERE c.id = o.customer_id AND c.phone LIKE '+4%') AS flag
    FROM public.orders o;
CREATE VIEW public.everyone AS SELECT c AS person, c.id FROM public.customers c;
CREATE VIEW public.sampled AS SELECT attname, most_common_vals::text AS vals FROM pg_catalog.pg_stats;
CREATE MATERIALIZED VIEW public.snapshot AS
    SELECT c.id, c.email, o.total FROM public.customers c JOIN public.orders o ON o.customer_id = c.id;
CREATE TABLE public.events (id bigint, day date, phone text, kind text, PRIMARY KEY (id, day))
    PARTITION BY RANGE (day);
CREATE TABLE public.events_2024 PARTITION OF public.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE public.people (id int PRIMARY KEY, email text);
CREATE TABLE public.staff (salary numeric) INHERITS (public.people);
CREATE TABLE public.watched (id int PRIMARY KEY, email text);
CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON public.watched FOR EACH ROW EXECUTE FUNCTION public.noted();
CREATE TABLE public.ruled (id int PRIMARY KEY);
CREATE RULE quiet AS ON DELETE TO public.ruled DO INSTEAD NOTHING;
CREATE TABLE public.owners (id int PRIMARY KEY);
CREATE TABLE public.owned (id int PRIMARY KEY, owner int REFERENCES public.owners ON DELETE CASCADE);
CREATE FUNCTION public.initials(public.customers) RETURNS text LANGUAGE sql STABLE
    AS 'SELECT left($1.name, 1)';
CREATE FUNCTION public.lookup(bigint, OUT found text, OUT since date) LANGUAGE sql STABLE
    AS 'SELECT email, current_date FROM public.customers WHERE id = $1';
CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
CREATE DOMAIN public.upper_text AS text CHECK (public.same(VALUE, VALUE));
CREATE VIEW public.called AS SELECT id, public.initials(c) AS i FROM public.customers AS c;
CREATE TEMPORARY TABLE contacts (id int, email text, note text);
CREATE TEMPORARY VIEW recent AS SELECT c.email AS e, p.email AS p FROM contacts AS c, public.customers AS p;
"""

# What a classifier or an owner would name; everything else has to follow from lineage.
SENSITIVE = {
    "public.customers.email": "EMAIL_ADDRESS",
    "public.customers.phone": "PHONE_NUMBER",
    "public.contacts.email": "EMAIL_ADDRESS",
    "public.events.phone": "PHONE_NUMBER",
    "public.staff.email": "EMAIL_ADDRESS",
    "public.watched.email": "EMAIL_ADDRESS",
}

TERMS = Terms(
    treatments={
        "EMAIL_ADDRESS": Treatment(strategy=Strategy.PARTIAL),
        "PHONE_NUMBER": Treatment(strategy=Strategy.REDACT),
    }
)


@frozen(repr=False)
class Shop:
    """One database with the schema above, as the catalog shows it."""

    connection: psycopg.Connection[Any]
    session: Session
    catalog: Catalog
    sources: dict[str, Source]
    names: dict[Source, str]
    sensitive: dict[Source, Sensitivity]

    def bind(self, sql: str) -> Bound:
        return bind(read(sql), self.catalog, self.session)

    def plan(self, bound: Bound) -> MaskPlan:
        return plan(bound, self.catalog, self.sensitive, TERMS)

    def name(self, source: Source) -> str:
        """Write a source as the corpora do: ``public`` left out, ``pg_temp`` for our temporary schema."""
        return self.names.get(source, f"{source.relation}.{source.column}")


def send(connection: psycopg.Connection[Any], text: bytes) -> list[list[tuple[str | None, ...]]]:
    """Send several commands in one message and return their results as text."""
    connection.pgconn.send_query(text)
    results = []
    while (result := connection.pgconn.get_result()) is not None:
        assert not result.error_message, result.error_message
        fields = range(result.nfields)
        results.append(
            [
                tuple(v.decode() if (v := result.get_value(row, f)) is not None else None for f in fields)
                for row in range(result.ntuples)
            ]
        )
    return results


def load(connection: psycopg.Connection[Any]) -> tuple[Session, Catalog]:
    """Read session and catalog of ``connection``, which is idle."""
    session = queries.session(send(connection, queries.SESSION)[0][0])
    digest = str(send(connection, queries.DIGEST)[0][0][0])
    return session, build(send(connection, queries.SNAPSHOT), digest, connection.info.server_version)


def open_shop(dsn: str) -> Shop:
    """Make the schema in an empty database and read its catalog."""
    connection = psycopg.connect(dsn, autocommit=True)
    connection.execute(SCHEMA)
    session, catalog = load(connection)
    sources = {}
    names = {}
    for relation in catalog.relations.values():
        schema = "pg_temp" if relation.schema == session.temp_schema else relation.schema
        short = relation.name if schema == "public" else f"{schema}.{relation.name}"
        for column in relation.columns:
            source = Source(relation.oid, column.number)
            sources[f"{schema}.{relation.name}.{column.name}"] = source
            names[source] = f"{short}.{column.name}"
        for name, number in (("ctid", -1), ("xmin", -2), ("tableoid", -6)):
            names[Source(relation.oid, number)] = f"{short}.{name}"
    sensitive = {
        sources[name]: Sensitivity(label=label, confidence=1.0, because="the test says so")
        for name, label in SENSITIVE.items()
    }
    return Shop(connection, session, catalog, sources, names, sensitive)


def cases(name: str) -> list[dict[str, Any]]:
    """Return the cases of one corpus."""
    lines = (CORPUS / name).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def written(shop: Shop, bound: Bound) -> list[str] | None:
    """Write outputs as the corpora do: ``name = a.b`` if plain, ``name ~ a.b + c.d`` if computed."""
    if bound.outputs is None:
        return None
    return [
        " ".join((o.name, "=" if o.plain else "~", " + ".join(sorted(map(shop.name, o.sources))))).strip()
        for o in bound.outputs
    ]
