// SPDX-License-Identifier: GPL-2.0-or-later
/* How disks and what they are made of are called. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "diskname.h"

/* Behind the name that is @count names behind "://"; NULL if there are not so many. */
static const char *behind_names(const char *url, unsigned int count)
{
	const char *at = strstr(url, "://");

	if (!at)
		return NULL;
	for (at += 3; count; count--) {
		if (!*at || *at == '/')
			return NULL;
		at += strcspn(at, "/");
		if (*at && count > 1)
			at++;
	}
	return at;
}

static const char *end_of_source(const char *url)
{
	if (!strncmp(url, "azure://", 8))
		return behind_names(url, 2);
	if (!strncmp(url, "s3://", 5))
		return behind_names(url, 1);
	return behind_names(url, 0) ? strrchr(url, '/') : NULL;
}

static size_t without_slashes(const char *text)
{
	size_t length = strlen(text);

	while (length && text[length - 1] == '/')
		length--;
	return length;
}

const char *diskname_split(const char *url, const char *volume, struct disk_place *place)
{
	size_t length = volume ? without_slashes(volume) : 0;
	const char *end = volume ? url + length : end_of_source(url);

	if (volume && (strncmp(url, volume, length) || url[length] != '/'))
		return "it does not begin with the volume";
	if (!end || *end != '/' || !end[1])
		return "it is not of the form azure://HOST/CONTAINER/PATH or file:///DIR/NAME";
	if ((size_t)(end - url) >= sizeof(place->source) || strlen(end + 1) >= sizeof(place->path))
		return "it is too long";
	snprintf(place->source, sizeof(place->source), "%.*s", (int)(end - url), url);
	snprintf(place->path, sizeof(place->path), "%s", end + 1);
	return NULL;
}

static bool in_name(char c)
{
	return isascii((unsigned char)c) && (isalnum((unsigned char)c) || strchr("._-", c));
}

const char *diskname_default(const char *path, char *name)
{
	const char *base = strrchr(path, '/'), *dot;
	size_t length, i;

	base = base ? base + 1 : path;
	while (*base == '.')
		base++;
	dot = strrchr(base, '.');
	length = dot ? (size_t)(dot - base) : strlen(base);
	if (length > BC_DISK_NAME_MAX)
		length = BC_DISK_NAME_MAX;
	for (i = 0; i < length; i++)
		name[i] = (char)(in_name(base[i]) ? base[i] : '-');
	name[length] = '\0';
	return name;
}

const char *diskname_of(const char *argument)
{
	size_t length = strlen(DISKNAME_DIR);

	return strncmp(argument, DISKNAME_DIR, length) ? argument : argument + length;
}

const char *diskname_path(const char *name, char *path)
{
	snprintf(path, DISKNAME_PATH, "%s%.*s", DISKNAME_DIR, BC_DISK_NAME_MAX, name);
	return path;
}
