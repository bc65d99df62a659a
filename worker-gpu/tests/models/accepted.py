"""Whether a server of a test has accepted every connection that was made so far."""

from http.client import HTTPConnection
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


def wait_until_accepted(endpoint: str) -> None:
    """Return when the server has accepted all connections made before this call: it accepts them in order, so the
    answer to one more request proves it."""
    connection = HTTPConnection(urlsplit(endpoint).netloc, timeout=TIMEOUT_S)
    connection.request("HEAD", "/")
    connection.getresponse().read()
    connection.close()
