"""huggingface_hub, with connections to hosts that may be reached and no others.

A study names a repository, never a host: that is the Hub's, or what the user's own ``HF_ENDPOINT``
names, and is not checked. Where that sends a client to is (`streetgauge.io.addresses`).
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Any

from streetgauge.io.addresses import resolve
from streetgauge.io.http import proxy_of

_PORTS = {"http": 80, "https": 443}


def import_hub() -> Any:
    """Import huggingface_hub and give it a checked client, in all of this process.

    Its second way to download, hf_xet, makes connections of its own and is switched off.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.
    """
    import huggingface_hub

    _use_checked_client()
    return huggingface_hub


@cache
def _use_checked_client() -> None:
    import httpx2
    import huggingface_hub
    from huggingface_hub import constants

    class Transport(httpx2.BaseTransport):
        """Sends requests, redirections among them, to addresses that were checked."""

        def __init__(self) -> None:
            # No connection is used again: one address may serve two names.
            limits = httpx2.Limits(max_keepalive_connections=0)
            self._direct = httpx2.HTTPTransport(limits=limits)
            self._proxies: dict[str, httpx2.HTTPTransport] = {}

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            url = request.url
            proxy = proxy_of(str(url))
            if proxy is not None:
                return self._through(proxy).handle_request(request)
            port = url.port or _PORTS.get(url.scheme)
            if port is None or url.host == httpx2.URL(constants.ENDPOINT).host:
                return self._direct.handle_request(request)
            try:
                addresses = resolve(url.host, port)
            except socket.gaierror as error:
                raise httpx2.ConnectError(str(error), request=request) from error
            failure: Exception = httpx2.ConnectError("the host has no address", request=request)
            for address in addresses:
                try:
                    return self._direct.handle_request(_sent_to(address, request))
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    failure = error
            raise failure

        def _through(self, proxy: str) -> httpx2.HTTPTransport:
            if proxy not in self._proxies:
                url = proxy if "://" in proxy else f"http://{proxy}"
                self._proxies[proxy] = httpx2.HTTPTransport(proxy=url)
            return self._proxies[proxy]

        def close(self) -> None:
            for each in (self._direct, *self._proxies.values()):
                each.close()

    def _sent_to(address: str, request: httpx2.Request) -> httpx2.Request:
        """Put an address for the host's name, which the certificate and the header still have."""
        return httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )

    usual = huggingface_hub.get_session()
    hooks, timeout = usual.event_hooks, usual.timeout  # which state what is offline

    def open_client() -> httpx2.Client:
        return httpx2.Client(
            transport=Transport(), event_hooks=hooks, timeout=timeout, follow_redirects=True
        )

    constants.HF_HUB_DISABLE_XET = True
    huggingface_hub.set_client_factory(open_client)
