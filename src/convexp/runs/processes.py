"""One run in several processes, started here: Lightning's own would start the whole command again, sweep and all."""

import os
import signal
import socket
import sys
from collections.abc import Callable

from torch.multiprocessing.spawn import ProcessExitedException, spawn

from convexp.errors import ConvexpError


def in_processes(work: Callable[..., object], *arguments: object, count: int) -> int:
    """Does the same work in processes that find each other as Lightning's do under `torchrun`.

    Args:
        work: A function of a module; what it raises ends the other processes too.
        arguments: Its arguments, which can be pickled.
        count: How many processes.

    Returns:
        The first exit status that is not 0, or 0.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Ctrl-C reaches all processes of a terminal: the others stop with a checkpoint, and this one waits for them.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        spawn(_join, (work, arguments, count, port), nprocs=count)
    except ProcessExitedException as error:
        return error.exit_code
    finally:
        signal.signal(signal.SIGINT, previous)
    return 0


def _join(rank: int, work: Callable[..., object], arguments: tuple[object, ...], count: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    try:
        work(*arguments)
    except ConvexpError as error:
        sys.exit(f"convexp: process {rank}: {error}")
