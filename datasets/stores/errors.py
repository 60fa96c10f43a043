"""Errors of object stores as one line each: what is wrong, which object, and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from driveforge.datasets.errors import shorten
from driveforge.datasets.files.atomic import WriteError

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_APPLICATION_CREDENTIALS", "az": "AZURE_STORAGE_ENDPOINT"}
# Clients without credentials ask the metadata services of the clouds' own machines.
_METADATA = re.compile(
    r"/latest/(api/token|meta-data)|computeMetadata|169\.254\.(169\.254|170\.2)|metadata[. ](google|service)",
    re.IGNORECASE,
)
_DENIED = re.compile(r"AccessDenied|Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|401|403")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_NO_CONNECTION = re.compile(r"error sending request|HTTP error|dns error|connect", re.IGNORECASE)


class StoreError(WriteError):
    """The object store cannot be used: the work cannot continue before this is fixed."""


class NoConnectionError(StoreError):
    """The object store does not answer."""


@contextmanager
def translate_store_errors(url: str) -> Iterator[None]:
    """Raise an error of the block as a StoreError that names ``url``; missing and existing objects are not errors."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except FileNotFoundError as error:
        if not _NO_BUCKET.search(str(error)):
            raise
        raise _explained(url, str(error)) from None
    except (BaseError, PermissionError) as error:
        raise _explained(url, str(error)) from None


def _explained(url: str, text: str) -> StoreError:
    scheme = url.partition(":")[0]
    keys = _CREDENTIALS.get(scheme, "the credentials")
    # The text quotes the path of the object, whose digits may look like a status.
    summary = text.partition("Debug source")[0]
    if _METADATA.search(summary):
        return StoreError(f"{url}: no credentials; set {keys} in the environment (docs/stores.md)")
    if _NO_BUCKET.search(summary):
        return StoreError(f"{url}: the bucket does not exist; create it, or correct the URL")
    status = re.search(r"status code: (\d+)", summary)
    if (status and status[1] in ("401", "403")) or (not status and _DENIED.search(summary)):
        return StoreError(f"{url}: access denied; check {keys}, and that they may list, read, write and delete there")
    if not status and _NO_CONNECTION.search(summary):
        reason = re.search(r"Error performing \w+ (\S+?)\?? in", summary)
        where = f" at {'/'.join(reason[1].split('/')[:3])}" if reason else ""
        return NoConnectionError(
            f"{url}: no connection{where}; check the network and {_ENDPOINTS.get(scheme, 'the endpoint')}; finished "
            "work is intact, run this again"
        )
    return StoreError(
        f"{url}: the store cannot be used ({shorten(summary, 140)}); finished work is intact, run this again"
    )
