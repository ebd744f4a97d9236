#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's part of tools/demo, with Azurite on the host. Not a test: no TAP.
#
# vm: host=demo disk=data:1G mem=2G timeout=1800

exec python3 /payload/tests/vm/demo/demo.py azure
