/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packing a directory into an image, by mkfs.erofs. */
#ifndef CACHECTL_IMAGEBUILD_H
#define CACHECTL_IMAGEBUILD_H

/**
 * struct image_request - what to pack
 * @directory: of which all is packed
 * @output: file
 * @order: file with a list of names, or NULL
 * @compress: for mkfs.erofs, "lz4hc,12" for example; NULL = not
 */
struct image_request {
	const char *directory, *output, *order, *compress;
};

/**
 * imagebuild - make the image
 * @request: which
 * @own: directory that is removed, too, if a signal ends this; or NULL
 *
 * The file is there when it is complete, or not at all. Says on stderr what is wrong.
 * Return: CTL_OK or CTL_FAILED
 */
int imagebuild(const struct image_request *request, const char *own);

#endif /* CACHECTL_IMAGEBUILD_H */
