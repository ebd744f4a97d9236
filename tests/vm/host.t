#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the harness itself: a service on the host can be reached from the guest,
# and the guest can read its log.
#
# vm: host=azurite timeout=120 module=no

. /payload/tests/vm/lib.sh

run_ok "Azurite answers" curl -sS -r 0-99 "$AZURITE_URL/nothing/here?a=b"
wait_for 'host_log azurite.log | grep -q "GET /devstoreaccount1/nothing/here"' 10
ok $? "its access log has the request"
wait_for 'azurite_requests | grep -q "here"' 10
is "$(azurite_requests)" "GET /nothing/here?a=b 0-99" "and its debug log the range"
done_testing
