// SPDX-License-Identifier: GPL-2.0-or-later
/* Who this node is. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "format.h"
#include "nodeid.h"

static int derive(const uint8_t machine[16], const char *purpose, uint8_t id[16])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;

	if (!HMAC(EVP_sha256(), machine, 16, (const uint8_t *)purpose, strlen(purpose), digest,
		  &length) || length < 16)
		return -EINVAL;
	memcpy(id, digest, 16);
	id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
	id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
	return 0;
}

int node_id_from(const char *machine_id, uint8_t node[16], uint8_t set[16])
{
	uint8_t machine[16];
	char text[33];

	/* Not so during the first boot, when it reads "uninitialized". */
	if (sscanf(machine_id, "%32s", text) != 1 || parse_uuid(text, machine))
		return -EINVAL;
	if (derive(machine, "blobcache node", node) || derive(machine, "blobcache tier set", set))
		return -EINVAL;
	return 0;
}

bool node_id_default(uint8_t node[16], uint8_t set[16])
{
	FILE *file = fopen("/etc/machine-id", "re");
	char text[64];
	bool known = file && fgets(text, sizeof(text), file) && !node_id_from(text, node, set);

	if (file)
		fclose(file);
	if (!known && (getrandom(node, 16, 0) != 16 || getrandom(set, 16, 0) != 16))
		memset(node, 0, 16);
	return known;
}
