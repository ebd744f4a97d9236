/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included before everything else (-include): gives older kernels the newest
 * form of the interfaces the module uses, so that no other file asks for a
 * kernel version. compat_config.h is written by the probe script beside this
 * file, once per kernel.
 */
#ifndef BC_COMPAT_H
#define BC_COMPAT_H

#include "compat_config.h"

#ifndef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#endif

#include "bdev.h"
#include "disk.h"
#include "misc.h"
#include "mm.h"
#include "modify.h"
#include "vfs.h"

#endif /* BC_COMPAT_H */
