/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CRC-32C as the tier has it, and of parts put together. The module's own is GPL-2.0-only,
 * which does not go with OpenSSL. Pure.
 */
#ifndef BC_UPLOAD_CRC_H
#define BC_UPLOAD_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t bc_crc_bytes(uint32_t crc, const void *bytes, size_t length);
uint32_t bc_crc_join(uint32_t crc, uint32_t next, uint64_t length);

#endif /* BC_UPLOAD_CRC_H */
