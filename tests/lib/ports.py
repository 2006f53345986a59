"""Ports of loopback that are ours before anybody listens there."""

import socket


def reserve():
    """A socket that has a port and does not listen.

    As long as it is open the kernel gives that port to nobody who asks for any, connections to it
    are refused, and a server that sets SO_REUSEADDR can listen there, also again and again.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def number(held):
    return held.getsockname()[1]
