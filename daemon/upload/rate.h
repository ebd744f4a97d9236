/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast all uploads of a thread together may send. Who wants to send a block waits
 * until what was sent before is paid for; so long ones need no room to be saved up. Pure.
 */
#ifndef BC_UPLOAD_RATE_H
#define BC_UPLOAD_RATE_H

#include <stdint.h>

struct bc_rate {
	uint64_t bytes_per_second;	/* 0 = no limit; may be changed at any time */
	int64_t paid_ms;		/* until then nothing is sent; 0 = at once */
};

unsigned int bc_rate_wait(const struct bc_rate *rate, int64_t now_ms);
void bc_rate_take(struct bc_rate *rate, uint64_t bytes, int64_t now_ms);

#endif /* BC_UPLOAD_RATE_H */
