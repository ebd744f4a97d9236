/* SPDX-License-Identifier: GPL-2.0-only */
/* struct blake2s_ctx was called blake2s_state before 6.19; its functions kept their shape. */
#ifndef BC_COMPAT_BLAKE2S_H
#define BC_COMPAT_BLAKE2S_H

#include <crypto/blake2s.h>

#ifndef HAVE_BLAKE2S_CTX
#define blake2s_ctx blake2s_state
#endif

#endif /* BC_COMPAT_BLAKE2S_H */
