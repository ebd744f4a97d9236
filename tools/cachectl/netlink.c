// SPDX-License-Identifier: GPL-2.0-or-later
/* The kernel's side over generic netlink. */
#include <errno.h>
#include <linux/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cachectl.h"
#include "fields.h"
#include "netlink.h"

#define DUMP_TRIES 5

struct bcnl {
	struct nl_sock *sock;
	int family;
	int error;
	char reason[512];
};

/* One exchange. */
struct exchange {
	struct bcnl *nl;
	enum bc_attr want;
	json_t *answer;		/* array */
	bool done;
};

/* Extended acknowledgment: attributes after the fixed part of an error or the end of a dump. */
static void take_extack(struct bcnl *nl, struct nlmsghdr *head, int offset)
{
	struct nlattr *tb[NLMSGERR_ATTR_MAX + 1];
	int length = (int)head->nlmsg_len - NLMSG_HDRLEN - offset;

	if (!(head->nlmsg_flags & NLM_F_ACK_TLVS) || length <= 0)
		return;
	if (nla_parse(tb, NLMSGERR_ATTR_MAX,
		      (struct nlattr *)((char *)nlmsg_data(head) + offset), length, NULL))
		return;
	if (tb[NLMSGERR_ATTR_MSG])
		snprintf(nl->reason, sizeof(nl->reason), "%.*s", nla_len(tb[NLMSGERR_ATTR_MSG]),
			 (const char *)nla_data(tb[NLMSGERR_ATTR_MSG]));
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg)
{
	struct nlmsghdr *head = (struct nlmsghdr *)((char *)error - NLMSG_HDRLEN);
	struct exchange *x = arg;
	int fixed = (int)sizeof(*error);

	(void)from;
	if (!(head->nlmsg_flags & NLM_F_CAPPED))
		fixed += (int)NLMSG_ALIGN(error->msg.nlmsg_len - NLMSG_HDRLEN);
	x->nl->error = error->error;
	take_extack(x->nl, head, fixed);
	x->done = true;
	return NL_STOP;
}

static int on_ack(struct nl_msg *msg, void *arg)
{
	struct exchange *x = arg;

	(void)msg;
	x->done = true;
	return NL_STOP;
}

static int on_finish(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *head = nlmsg_hdr(msg);
	struct exchange *x = arg;

	if (head->nlmsg_len >= NLMSG_HDRLEN + sizeof(int)) {
		memcpy(&x->nl->error, nlmsg_data(head), sizeof(int));
		take_extack(x->nl, head, sizeof(int));
	}
	x->done = true;
	return NL_STOP;
}

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct nlattr *tb[BC_A_MAX + 1];
	struct exchange *x = arg;

	if (genlmsg_parse(nlmsg_hdr(msg), 0, tb, BC_A_MAX, NULL))
		return NL_SKIP;
	if (x->want != BC_A_UNSPEC && tb[x->want])
		json_array_append_new(x->answer, fields_decode(x->want, tb[x->want]));
	return NL_OK;
}

static int receive(struct bcnl *nl, struct exchange *x)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_CUSTOM);
	int rc = 0;

	if (!cb)
		return -ENOMEM;
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, x);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, x);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_finish, x);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, x);
	while (!x->done && rc >= 0)
		rc = nl_recvmsgs(nl->sock, cb);
	nl_cb_put(cb);
	return rc;
}

static int set_error(struct bcnl *nl, int error, const char *reason)
{
	nl->error = error;
	snprintf(nl->reason, sizeof(nl->reason), "%s", reason);
	return error;
}

/* Consumes @message. Return: 0, a negative errno, or -EINTR for a dump to be begun anew. */
static int exchange(struct bcnl *nl, struct nl_msg *message, struct exchange *x)
{
	int rc;

	nl->error = 0;
	nl->reason[0] = '\0';
	rc = nl_send_auto(nl->sock, message);
	nlmsg_free(message);
	if (rc >= 0)
		rc = receive(nl, x);
	if (rc == -NLE_DUMP_INTR)
		return set_error(nl, -EINTR, "the state changed while it was read; try again");
	if (nl->error)
		return nl->error;
	if (rc < 0)
		return set_error(nl, -EIO, nl_geterror(rc));
	return 0;
}

static int connect_family(struct bcnl *nl)
{
	int one = 1, rc;

	nl->sock = nl_socket_alloc();
	if (!nl->sock)
		return -NLE_NOMEM;
	nl_socket_disable_auto_ack(nl->sock);
	rc = genl_connect(nl->sock);
	if (rc)
		return rc;
	setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	nl->family = genl_ctrl_resolve(nl->sock, BC_GENL_NAME);
	return nl->family < 0 ? nl->family : 0;
}

static int try_open(struct bcnl **out, int *error)
{
	struct bcnl *nl = calloc(1, sizeof(*nl));

	*out = NULL;
	*error = nl ? connect_family(nl) : -NLE_NOMEM;
	if (!*error) {
		*out = nl;
		return CTL_OK;
	}
	bcnl_close(nl);
	return *error == -NLE_OBJ_NOTFOUND ? CTL_NOTHING : CTL_FAILED;
}

int bcnl_open_if_loaded(struct bcnl **nl)
{
	int error, rc = try_open(nl, &error);

	if (rc == CTL_FAILED)
		ctl_fail("%s: cannot talk to the kernel over netlink: %s", ctl.path,
			 nl_geterror(error));
	return rc;
}

int bcnl_open(struct bcnl **nl)
{
	int rc = bcnl_open_if_loaded(nl);

	if (rc == CTL_NOTHING)
		ctl_fail("%s: the kernel module is not loaded; run 'modprobe blobcache' (if that "
			 "fails: 'dkms status blobcache' tells whether it was built for this "
			 "kernel)", ctl.path);
	return rc;
}

void bcnl_close(struct bcnl *nl)
{
	if (!nl)
		return;
	if (nl->sock)
		nl_socket_free(nl->sock);
	free(nl);
}

static struct nl_msg *message_flags(struct bcnl *nl, enum bc_cmd command, int flags)
{
	struct nl_msg *message = nlmsg_alloc_size(8192);

	if (!message || !genlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, nl->family, 0,
				     NLM_F_REQUEST | flags, (uint8_t)command, BC_GENL_VERSION)) {
		ctl_fail("%s: out of memory", ctl.path);
		exit(CTL_FAILED);
	}
	return message;
}

struct nl_msg *bcnl_message(struct bcnl *nl, enum bc_cmd command)
{
	return message_flags(nl, command, NLM_F_ACK);
}

int bcnl_do(struct bcnl *nl, struct nl_msg *message, enum bc_attr want, json_t **answer)
{
	struct exchange x = { .nl = nl, .want = want, .answer = json_array() };
	int rc = exchange(nl, message, &x);

	if (answer)
		*answer = rc ? NULL : json_incref(json_array_get(x.answer, 0));
	json_decref(x.answer);
	return rc;
}

int bcnl_get(struct bcnl *nl, enum bc_cmd command, enum bc_attr want, json_t **answer)
{
	int rc = bcnl_do(nl, bcnl_message(nl, command), want, answer);

	if (!rc && !*answer)
		*answer = json_object();
	return rc;
}

int bcnl_dump(struct bcnl *nl, enum bc_cmd command, enum bc_attr want, json_t **answer)
{
	int tries, rc = -EINTR;

	*answer = NULL;
	for (tries = 0; rc == -EINTR && tries < DUMP_TRIES; tries++) {
		struct exchange x = { .nl = nl, .want = want, .answer = json_array() };

		rc = exchange(nl, message_flags(nl, command, NLM_F_DUMP), &x);
		if (!rc)
			*answer = x.answer;
		else
			json_decref(x.answer);
	}
	return rc;
}

static const char *advice(int error)
{
	switch (error) {
	case -EPERM:
		return "permission denied; this needs root (CAP_SYS_ADMIN)";
	case -EOPNOTSUPP:
		return "the loaded module does not have this command; is it older than cachectl?";
	default:
		return strerror(-error);
	}
}

const char *bcnl_reason(const struct bcnl *nl)
{
	return nl->reason[0] ? nl->reason : advice(nl->error);
}

int bcnl_failed(const struct bcnl *nl, const char *object)
{
	return ctl_fail("%s%s%s: %s", ctl.path, *object ? " " : "", object, bcnl_reason(nl));
}
