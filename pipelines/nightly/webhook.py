"""The webhook: the summary of a pass as JSON, sent by POST. A failure is printed and changes nothing else."""

import json
import os
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from driveforge.datasets.errors import UserError, shorten
from driveforge.pipelines.console import print_message

TIMEOUT_SECONDS = 10.0
ADDRESS_VARIABLE = "DRIVEFORGE_WEBHOOK"


def find_webhook(setting: str | None) -> str | None:
    """The address of the webhook: the setting, else the environment variable, for addresses that hold a secret.

    Raises UserError if it is not a web address.
    """
    address = setting or os.environ.get(ADDRESS_VARIABLE) or None
    if address is None:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"nightly.webhook and {ADDRESS_VARIABLE} must be an address such as https://HOST/PATH")
    return address


def post_summary(address: str, summary: Mapping[str, Any]) -> None:
    """Send ``summary``; its ``text`` is what chat programs show."""
    body = json.dumps(summary).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "driveforge"}
    request = urllib.request.Request(address, body, headers, method="POST")
    host = urlsplit(address).hostname
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            pass
    except (OSError, ValueError) as error:  # the address may be secret, so it is not printed
        print_message(f"the webhook at {host} did not take the summary ({shorten(error, 100)})")
