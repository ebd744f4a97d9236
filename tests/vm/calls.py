# SPDX-License-Identifier: GPL-2.0-or-later
"""What calls say: the error as its name, also to another user."""
import errno
import os


def caught(call, *argv):
    """Name of the error that the call gives; None if it gives none."""
    try:
        call(*argv)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))
    return None


def as_user(user, call, *argv, groups=(), umask=0o022):
    """caught(), in a process of that user."""
    out, inp = os.pipe()
    pid = os.fork()
    if not pid:
        said = "no answer"
        try:
            os.setgroups(groups)
            os.setgid(user)
            os.setuid(user)
            os.umask(umask)
            said = str(caught(call, *argv))
        finally:
            os.write(inp, said.encode())
            os._exit(0)
    os.close(inp)
    os.waitpid(pid, 0)
    with open(out, encoding="ascii") as f:
        return f.read()
