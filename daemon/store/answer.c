// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What Azure means by a reply to a request that changes something. The status alone
 * does not tell; the error code does.
 */
#include <string.h>

#include "store/reply.h"
#include "util.h"

static const struct {
	const char *code;
	enum bc_answer answer;
} codes[] = {
	{ "BlobAlreadyExists",				BC_ANSWER_CONDITION },
	{ "ConditionNotMet",				BC_ANSWER_CONDITION },
	{ "TargetConditionNotMet",			BC_ANSWER_CONDITION },
	{ "InvalidBlockList",				BC_ANSWER_BLOCK_LIST },
	{ "InvalidBlobOrBlock",				BC_ANSWER_BLOCK_ID },
	{ "Md5Mismatch",				BC_ANSWER_CHECKSUM },
	/* What Azurite says of a wrong Content-MD5. */
	{ "InvalidOperation",				BC_ANSWER_CHECKSUM },
	{ "LeaseIdMissing",				BC_ANSWER_LEASED },
	{ "LeaseIdMismatchWithBlobOperation",		BC_ANSWER_LEASED },
	{ "LeaseIdMismatchWithContainerOperation",	BC_ANSWER_LEASED },
	{ "LeaseAlreadyPresent",			BC_ANSWER_LEASED },
	{ "LeaseLost",					BC_ANSWER_LEASED },
	{ "ServerBusy",					BC_ANSWER_BUSY },
};

/* Errors of conditions; the rest of 409 and 412 is about other things. */
static enum bc_answer by_code(const struct bc_reply *reply)
{
	size_t i;

	for (i = 0; i < BC_COUNT(codes); i++)
		if (!strcmp(reply->code, codes[i].code))
			return codes[i].answer;
	/* Without any code it is not the store that answers; a proxy's 412 may be the store's. */
	if (!*reply->code && (reply->status == 412 || reply->status == 409))
		return BC_ANSWER_CONDITION;
	return BC_ANSWER_REFUSED;
}

/* That a container is not there says nothing about what was in it. */
static enum bc_answer not_found(const struct bc_reply *reply)
{
	static const char *const object[] = { "", "BlobNotFound", "PathNotFound" };
	size_t i;

	for (i = 0; i < BC_COUNT(object); i++)
		if (!strcmp(reply->code, object[i]))
			return BC_ANSWER_GONE;
	return BC_ANSWER_NO_CONTAINER;
}

static bool is_done(unsigned int status, enum bc_verb verb)
{
	switch (verb) {
	case BC_VERB_STAGE:
	case BC_VERB_COMMIT:
		return status == 201;
	case BC_VERB_DELETE:
		return status == 202 || status == 200 || status == 204;
	default:
		return status == 200;
	}
}

/**
 * bc_reply_answer - what a reply says of a change
 * @reply: complete
 * @verb: what was asked for
 */
enum bc_answer bc_reply_answer(const struct bc_reply *reply, enum bc_verb verb)
{
	switch (reply->status) {
	case 400:
	case 409:
	case 412:
		return by_code(reply);
	case 401:
	case 403:
		return BC_ANSWER_DENIED;
	case 404:
	case 410:
		return not_found(reply);
	case 429:
	case 503:
		return BC_ANSWER_BUSY;
	case 408:
	case 500:
	case 502:
	case 504:
		/* It may have been done although the answer was late. */
		return BC_ANSWER_NONE;
	}
	if (reply->status >= 200 && reply->status <= 299)
		return is_done(reply->status, verb) ? BC_ANSWER_DONE : BC_ANSWER_NONE;
	return BC_ANSWER_REFUSED;
}
