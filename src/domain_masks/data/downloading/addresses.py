"""Which addresses files may be fetched from."""

from __future__ import annotations

import ipaddress

import httpx2

from domain_masks.errors import DownloadError


def check_address(url: str, plain_http: bool = False) -> None:
    """Raise DownloadError unless ``url`` is https, or http where ``plain_http`` or on this machine itself."""
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise DownloadError(
            f"expected an address such as https://example.org/file.zip, got {url!r} ({error})"
        ) from error
    if address.scheme == "https" and address.host:
        return
    if address.scheme == "http" and (plain_http or is_loopback(address.host)):
        return
    raise DownloadError(f"expected an address that begins with https://, got {url!r}; give one that is encrypted")


def is_loopback(host: str) -> bool:
    """Return whether a host's name or number means this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
