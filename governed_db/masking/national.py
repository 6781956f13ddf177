"""Numbers that states give to people, told by their checksums and dates: python-stdnum knows the rules.

A checksum says little of one value (a tenth of all numbers passes a check digit) and much of a column: the
share of its distinct values that pass. ``chance`` is how often a number of the right shape passes by
accident, from the algorithm: 1/10 and 1/11 for one check digit, 1/97 for two, less where a date stands in
the number. Numbers of companies (VAT, SIREN, CNPJ) are left out: they are nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, Final

from attrs import frozen


@frozen
class Scheme:
    """A numbering scheme: where python-stdnum has it, its shape, and how often others pass its check."""

    module: str
    shape: re.Pattern[str]
    chance: float
    label: str = "NATIONAL_ID"


def _scheme(module: str, shape: str, chance: float, label: str = "NATIONAL_ID") -> Scheme:
    return Scheme(module, re.compile(shape), chance, label)


_DATE_CHECK: Final = 0.1 * 0.036  # two digits of month (12/100) and of day (30/100), and one check digit

SCHEMES: Final = (
    # A date of birth and at least one check digit.
    _scheme("pl.pesel", r"\d{11}", _DATE_CHECK),
    _scheme("no.fodselsnummer", r"\d{6}[ ]?\d{5}", _DATE_CHECK / 10),
    _scheme("fi.hetu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Z]", _DATE_CHECK / 3),
    _scheme("se.personnummer", r"(?:\d{2})?\d{6}[-+]?\d{4}", _DATE_CHECK),
    _scheme("be.nn", r"\d{11}|\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", 1 / 97),
    _scheme("cz.rc", r"\d{6}/\d{4}|\d{10}", _DATE_CHECK),
    _scheme("ro.cnp", r"[1-9]\d{12}", _DATE_CHECK),
    _scheme("bg.egn", r"\d{10}", _DATE_CHECK),
    _scheme("gr.amka", r"\d{11}", _DATE_CHECK),
    _scheme("si.emso", r"\d{13}", _DATE_CHECK),
    _scheme("lt.asmens", r"[1-6]\d{10}", _DATE_CHECK),
    _scheme("ee.ik", r"[1-6]\d{10}", _DATE_CHECK),
    _scheme("is_.kennitala", r"\d{6}-?\d{4}", _DATE_CHECK),
    _scheme("at.vnr", r"\d{4}[ ]?\d{6}", _DATE_CHECK),
    _scheme("za.idnr", r"\d{13}", _DATE_CHECK),
    _scheme("cn.ric", r"\d{17}[0-9Xx]", _DATE_CHECK),
    _scheme("kr.rrn", r"\d{6}-?\d{7}", _DATE_CHECK),
    _scheme("dk.cpr", r"\d{6}-\d{4}", 0.036),
    _scheme("my.nric", r"\d{6}-\d{2}-\d{4}", 0.036),
    # Letters and digits of a shape of their own, with a check.
    _scheme("it.codicefiscale", r"[A-Za-z]{6}\d{2}[A-Za-z]\d{2}[A-Za-z]\d{3}[A-Za-z]", 1 / 26 / 10),
    _scheme("mx.curp", r"[A-Za-z]{4}\d{6}[HMhm][A-Za-z]{5}[0-9A-Za-z]\d", 1 / 100),
    _scheme("es.dni", r"\d{8}-?[A-Za-z]", 1 / 23),
    _scheme("es.nie", r"[XYZxyz]-?\d{7}-?[A-Za-z]", 1 / 100),
    _scheme("pt.cc", r"\d{8}[ ]?\d[ ]?[A-Z]{2}\d", 1 / 100),
    _scheme("fr.nir", r"[12][ ]?\d{2}[ ]?\d{2}[ ]?\d[0-9AB][ ]?\d{3}[ ]?\d{3}[ ]?\d{2}", 1 / 97 / 10),
    _scheme("ch.ssn", r"756\.?\d{4}\.?\d{4}\.?\d{2}", 1 / 1000),
    _scheme("in_.pan", r"[A-Za-z]{3}[Pp][A-Za-z]\d{4}[A-Za-z]", 1 / 26, "TAX_ID"),
    # Two check digits or more.
    _scheme("br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}|\d{11}", 1 / 100),
    _scheme("tr.tckimlik", r"[1-9]\d{10}", 1 / 100),
    # One check digit, and little else.
    _scheme("de.idnr", r"[1-9]\d{10}|[1-9]\d[ ]\d{3}[ ]\d{3}[ ]\d{3}", 1 / 30, "TAX_ID"),
    _scheme("in_.aadhaar", r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", 1 / 10),
    _scheme("ca.sin", r"[1-79]\d{2}[ -]?\d{3}[ -]?\d{3}", 1 / 10),
    _scheme("gb.nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", 1 / 11, "MEDICAL_RECORD_NUMBER"),
    _scheme("nl.bsn", r"\d{9}", 1 / 11),
    _scheme("hr.oib", r"\d{11}", 1 / 10),
    _scheme("th.pin", r"[1-8]-?\d{4}-?\d{5}-?\d{2}-?\d", 1 / 10),
    _scheme("il.idnr", r"\d{9}", 1 / 10),
    _scheme("jp.in_", r"\d{4}[ -]?\d{4}[ -]?\d{4}", 1 / 11),
    _scheme("au.tfn", r"\d{3}[ -]?\d{3}[ -]?\d{2,3}", 1 / 11, "TAX_ID"),
    _scheme("cl.rut", r"\d{1,2}\.\d{3}\.\d{3}-[0-9Kk]|\d{7,8}-[0-9Kk]", 1 / 11),
    _scheme("ec.ci", r"[0-2]\d{9}", 1 / 20),
    # No check digit: the shape with its dashes, and what the authority never gives out.
    _scheme("us.ssn", r"\d{3}-\d{2}-\d{4}", 1 / 10, "US_SOCIAL_SECURITY_NUMBER"),
    _scheme("pk.cnic", r"\d{5}-\d{7}-\d", 1 / 10),
)

NINO: Final = re.compile(
    r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"
)
"""The British National Insurance number, which python-stdnum lacks (HMRC, NIM39110)."""


def passes(scheme: Scheme, value: str) -> bool:
    """Return whether ``value`` has the shape of ``scheme`` and passes its check."""
    if scheme.shape.fullmatch(value) is None:
        return False
    try:
        return bool(library(scheme.module).is_valid(value))
    except Exception:  # whatever a rule of python-stdnum trips over is no number of its scheme
        return False


def possible(values: Iterable[str]) -> tuple[Scheme, ...]:
    """Return the schemes whose shape any of ``values`` has."""
    values = list(values)
    return tuple(s for s in SCHEMES if any(s.shape.fullmatch(v) for v in values))


@cache
def library(name: str) -> Any:
    """Return a module of python-stdnum, loaded when the first value has its shape: it reads lists."""
    return import_module(f"stdnum.{name}")
