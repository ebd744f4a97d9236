/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the file store share. */
#ifndef BC_FILE_H
#define BC_FILE_H

#include <stdint.h>
#include <sys/stat.h>

#include "store/store.h"

#define BC_FILE_STAGED		".blobcache-"	/* staged files begin so */
#define BC_FILE_ATTRIBUTE	"user.blobcache"

int bc_file_open_beneath(int directory, const char *path, uint64_t flags, unsigned int mode);
void bc_file_set_errno(struct bc_result *result, const char *what, int error);
void bc_file_set_object(struct bc_object *object, const struct stat *st);

void bc_file_write(struct bc_transfer *transfer, int directory);
bool bc_file_sync_name(struct bc_transfer *transfer, int directory);
void bc_file_get_meta(struct bc_meta *meta, int fd);

#endif /* BC_FILE_H */
