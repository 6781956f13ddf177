"""Where tokens and secrets of notifiers come from: private files, or the environment. Never the policy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from governed_db import private
from governed_db.approval.notifier import NotReady

MAX_SECRET: Final = 4096
"""Bytes of a file with a secret: some forty times what one has."""


def find(path: Path | None, variable: str, key: str) -> str:
    """Return what the private file ``path`` holds, or the environment's ``variable`` where no file is named.

    Args:
        path: the file, ``None`` where the policy names none.
        variable: the environment's.
        key: how the policy names the file.

    Raises:
        NotReady: there is none, or others can read it. The message names the place alone.
    """
    if path is None:
        found = os.environ.get(variable, "").strip()
        if not found:
            raise NotReady(f"neither {variable} in the environment nor '{key}' in the policy is there")
        return found
    try:
        data = private.read(path, MAX_SECRET + 1)
    except private.NotPrivate as error:
        raise NotReady(f"'{key}': {error}") from None
    except OSError as error:
        raise NotReady(f"'{key}': {path} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > MAX_SECRET:
        raise NotReady(f"'{key}': {path} holds no secret")
    return text
