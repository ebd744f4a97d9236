// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/blobcache/control: ownership of requests and the way of bytes from the daemon.
 *
 * daemon.lock orders hello against release; epoch and alive are read without it.
 * The release of the owner's last reference to the file is how we learn of its
 * death, for whatever reason.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "blobcache_dev.h"
#include "daemon.h"
#include "dev_check.h"
#include "fill.h"
#include "flush.h"
#include "resolve.h"

static unsigned int lease_ms = 5000;
module_param(lease_ms, uint, 0644);
MODULE_PARM_DESC(lease_ms, "milliseconds a claimed request may rest before it is offered again");

#define LEASE_MIN_MS	100U
#define LEASE_MAX_MS	60000U

static struct {
	struct mutex lock;	/* hello against release */
	struct bc_daemon_file *owner;
	u64 epoch;
	pid_t pid;
	unsigned long since;
	unsigned long heard;	/* when it last made a call */
	bool alive;
	bool suspect;
} daemon = {
	.lock = __MUTEX_INITIALIZER(daemon.lock),
};

/* One per open file; epoch is 0 until hello. */
struct bc_daemon_file {
	u64 epoch;
};

unsigned long bc_daemon_lease(void)
{
	return msecs_to_jiffies(clamp(READ_ONCE(lease_ms), LEASE_MIN_MS, LEASE_MAX_MS));
}

bool bc_daemon_present(void)
{
	return READ_ONCE(daemon.alive);
}

bool bc_daemon_alive(void)
{
	return READ_ONCE(daemon.alive) && !READ_ONCE(daemon.suspect);
}

void bc_daemon_suspect(void)
{
	if (!READ_ONCE(daemon.alive) || READ_ONCE(daemon.suspect))
		return;
	/* One request of it rests, but it works on others. */
	if (time_before_eq(jiffies, READ_ONCE(daemon.heard) + bc_daemon_lease()))
		return;
	WRITE_ONCE(daemon.suspect, true);
	pr_warn_ratelimited("daemon (pid %d) has not answered for %u ms: going on without it\n",
			    READ_ONCE(daemon.pid), jiffies_to_msecs(bc_daemon_lease()));
}

void bc_daemon_seen(void)
{
	WRITE_ONCE(daemon.heard, jiffies);
	if (!READ_ONCE(daemon.suspect))
		return;
	WRITE_ONCE(daemon.suspect, false);
	pr_info_ratelimited("daemon (pid %d) answers again\n", READ_ONCE(daemon.pid));
}

bool bc_daemon_is_current(void)
{
	return READ_ONCE(daemon.alive) && task_tgid_nr(current) == READ_ONCE(daemon.pid);
}

void bc_daemon_info(struct bc_daemon_info *info)
{
	mutex_lock(&daemon.lock);
	info->pid = daemon.alive ? daemon.pid : 0;
	info->epoch = daemon.epoch;
	info->since_ms = jiffies64_to_msecs(jiffies - daemon.since);
	info->answers = bc_daemon_alive();
	mutex_unlock(&daemon.lock);
}

static int dev_open(struct inode *inode, struct file *file)
{
	struct bc_daemon_file *df;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	df = kzalloc(sizeof(*df), GFP_KERNEL);
	if (!df)
		return -ENOMEM;
	file->private_data = df;
	return nonseekable_open(inode, file);
}

/*
 * Until both sweeps are over nobody else can be the daemon, so that they find
 * only what the old one had.
 */
static void daemon_gone(void)
{
	pr_info("daemon (pid %d) is gone\n", daemon.pid);
	daemon.since = jiffies;
	WRITE_ONCE(daemon.alive, false);
	WRITE_ONCE(daemon.suspect, false);
	bc_resolves_daemon_lost();
	bc_fills_daemon_lost();
	bc_flush_owner_gone(daemon.epoch);
	daemon.owner = NULL;
}

static int dev_release(struct inode *inode, struct file *file)
{
	struct bc_daemon_file *df = file->private_data;

	mutex_lock(&daemon.lock);
	if (daemon.owner == df)
		daemon_gone();
	mutex_unlock(&daemon.lock);
	kfree(df);
	return 0;
}

/* What PR_SET_IO_FLUSHER sets: reclaim on behalf of the daemon must not wait for the daemon. */
static bool is_io_flusher(void)
{
	unsigned int flags = PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE;

	return (current->flags & flags) == flags;
}

static int become_daemon(struct bc_daemon_file *df)
{
	int ret = 0;

	mutex_lock(&daemon.lock);
	if (daemon.owner) {
		ret = -EBUSY;
	} else {
		daemon.owner = df;
		daemon.pid = task_tgid_nr(current);
		daemon.since = jiffies;
		WRITE_ONCE(daemon.heard, jiffies);
		df->epoch = ++daemon.epoch;
		WRITE_ONCE(daemon.suspect, false);
		WRITE_ONCE(daemon.alive, true);
	}
	mutex_unlock(&daemon.lock);
	if (!ret)
		pr_info("daemon (pid %d) is here, epoch %llu\n", daemon.pid, df->epoch);
	return ret;
}

static int ioctl_hello(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_hello hello;
	int ret;

	if (copy_from_user(&hello, arg, sizeof(hello)))
		return -EFAULT;
	ret = bc_check_hello(&hello);
	if (ret)
		return ret;
	if (!is_io_flusher())
		return -EPERM;
	if (df->epoch)
		return -EALREADY;
	ret = become_daemon(df);
	if (ret)
		return ret;
	hello.lease_ms = jiffies_to_msecs(bc_daemon_lease());
	hello.epoch = df->epoch;
	return copy_to_user(arg, &hello, sizeof(hello)) ? -EFAULT : 0;
}

static int ioctl_claim(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_claim claim;

	if (copy_from_user(&claim, arg, sizeof(claim)))
		return -EFAULT;
	if (bc_check_claim(&claim))
		return -EINVAL;
	return bc_fill_claim(claim.id, df->epoch, claim.flags & BC_CLAIM_RENEW);
}

static int ioctl_bind(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_version version = {};
	struct bc_ioc_bind bind;

	if (copy_from_user(&bind, arg, sizeof(bind)))
		return -EFAULT;
	if (bc_check_bind(&bind))
		return -EINVAL;
	version.size = bind.object_size;
	version.last_modified = bind.last_modified;
	version.etag_length = bind.etag_length;
	memcpy(version.etag, bind.etag, bind.etag_length);
	return bc_fill_bind(bind.id, df->epoch, &version);
}

static int ioctl_fill(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_fill fill;

	if (copy_from_user(&fill, arg, sizeof(fill)))
		return -EFAULT;
	if (bc_check_fill(&fill))
		return -EINVAL;
	return bc_fill_copy(fill.id, df->epoch, fill.offset, fill.length,
			    u64_to_user_ptr(fill.address));
}

static int ioctl_done(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_done done;

	if (copy_from_user(&done, arg, sizeof(done)))
		return -EFAULT;
	if (bc_check_done(&done))
		return -EINVAL;
	return bc_fill_done(done.id, df->epoch, done.status, done.retry_after_ms,
			    done.flags & BC_DONE_COALESCED);
}

static int ioctl_flush_begin(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_flush_begin begin;
	int ret;

	if (copy_from_user(&begin, arg, sizeof(begin)))
		return -EFAULT;
	if (bc_check_flush_begin(&begin))
		return -EINVAL;
	ret = bc_flush_begin(&begin, df->epoch);
	if (ret)
		return ret;
	return copy_to_user(arg, &begin, sizeof(begin)) ? -EFAULT : 0;
}

static int ioctl_flush_map(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_flush_map map;

	if (copy_from_user(&map, arg, sizeof(map)))
		return -EFAULT;
	return bc_check_flush_map(&map) ?: bc_flush_map(&map, df->epoch);
}

static int ioctl_read(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_read read;

	if (copy_from_user(&read, arg, sizeof(read)))
		return -EFAULT;
	return bc_check_read(&read) ?: bc_flush_read(&read, df->epoch);
}

static int ioctl_flush_end(struct bc_daemon_file *df, void __user *arg)
{
	struct bc_ioc_flush_end end;

	if (copy_from_user(&end, arg, sizeof(end)))
		return -EFAULT;
	return bc_check_flush_end(&end) ?: bc_flush_end(&end, df->epoch);
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct bc_daemon_file *df = file->private_data;
	void __user *user = (void __user *)arg;

	if (cmd == BC_IOC_HELLO)
		return ioctl_hello(df, user);
	if (!df->epoch)
		return -ENOTCONN;
	bc_daemon_seen();
	switch (cmd) {
	case BC_IOC_CLAIM:
		return ioctl_claim(df, user);
	case BC_IOC_BIND:
		return ioctl_bind(df, user);
	case BC_IOC_FILL:
		return ioctl_fill(df, user);
	case BC_IOC_DONE:
		return ioctl_done(df, user);
	case BC_IOC_FLUSH_BEGIN:
		return ioctl_flush_begin(df, user);
	case BC_IOC_FLUSH_MAP:
		return ioctl_flush_map(df, user);
	case BC_IOC_READ:
		return ioctl_read(df, user);
	case BC_IOC_FLUSH_END:
		return ioctl_flush_end(df, user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.open = dev_open,
	.release = dev_release,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice dev_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = BC_DEV_NAME,
	.nodename = BC_DEV_NODE,
	.fops = &dev_fops,
	.mode = 0600,
};

int bc_dev_init(void)
{
	daemon.since = jiffies;
	return misc_register(&dev_misc);
}

void bc_dev_exit(void)
{
	misc_deregister(&dev_misc);
}
