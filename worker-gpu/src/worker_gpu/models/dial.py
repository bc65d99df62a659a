"""Getting through to a host, with or without TLS, so that another thread can end it at any moment."""

import socket
import ssl
from functools import cache


class Call:
    """One connection that is to be, or is. `silence_s` is what each step of it, and each read, may take."""

    def __init__(self, host: str, port: int, tls: bool, silence_s: float) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._silence_s = silence_s
        self._held: socket.socket | None = None
        self._is_cut = False

    def connect(self) -> socket.socket:
        """Connect to the first address of the host that answers, and shake hands. Raises `OSError`."""
        plain = self._connect_plain()
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._tls:
                return plain
            # No hands are shaken before `cut` can find it.
            shielded = _context().wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
            self._hold(shielded)
            shielded.do_handshake()
            return shielded
        except BaseException:
            plain.close()
            self.close()
            raise

    def cut(self) -> None:
        """For another thread: whatever is awaited here ends at once, and nothing can be begun. Raises `OSError`."""
        self._is_cut = True
        if self._held is not None:
            # Not the method of a TLS socket: after that one a read would take what is encrypted for plain.
            socket.socket.shutdown(self._held, socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        if self._held is not None:
            self._held.close()

    def _connect_plain(self) -> socket.socket:
        fault = OSError("the host has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
            plain = socket.socket(family, kind, protocol)
            try:
                self._hold(plain)
                plain.settimeout(self._silence_s)
                plain.connect(address)
            except OSError as error:
                plain.close()
                fault = error
            else:
                return plain
        raise fault

    def _hold(self, held: socket.socket) -> None:
        self._held = held
        # `cut` says so before it looks for a socket: one of the two sees the other.
        if self._is_cut:
            raise OSError("cut off")


@cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
