#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guest's part of STORE=file tools/demo. Not a test: no TAP.
#
# vm: disk=data:1G disk=source:1G mem=2G timeout=1800

exec python3 /payload/tests/vm/demo/demo.py file
