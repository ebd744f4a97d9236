/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Write-back, the second part of what front ends know of the engine: dirty objects, whose bytes
 * only a tier of this node has. One object is on one tier, and is found by its generation id, which
 * no name enters; its name is on the tier, too.
 *
 * A block of 64 KiB has versions. The page cache has one that is newer than all while the block is
 * *dirty*, from bc_dirty_mark() to bc_dirty_write_begin(); the front end keeps these apart for each
 * block, by a lock of its own, under which all of the block's pages are there. A write goes to a
 * place that nothing on the device names, reserved before the block became dirty. bc_dirty_commit()
 * makes what was written, and the name, durable.
 */
#ifndef BC_BACK_H
#define BC_BACK_H

#include <linux/bio.h>
#include <linux/time64.h>

#include "engine.h"
#include "name.h"

struct bc_dirty;

/* What is shown of a dirty file. */
struct bc_dirty_attr {
	u64 size;
	struct timespec64 mtime, ctime;
	umode_t mode;
	u32 uid, gid;
};

/**
 * bc_dirty_claim - a mount is going to write back
 * @client: its client
 *
 * One mount per volume. Tiers that have dirty objects can neither come nor go meanwhile.
 * Return: 0, -EBUSY if another one does, -ENODEV if no tier keeps dirty data, -ENOMEM.
 */
int bc_dirty_claim(struct bc_client *client);
void bc_dirty_unclaim(struct bc_client *client);

/**
 * bc_dirty_create - a new file
 * @client: of a mount that writes back
 * @path: in the volume
 * @attr: to begin with
 * @base: what the store has under that path
 *
 * Nothing of it is on the device before the first bc_dirty_commit(). It is found by its path from
 * now on. May sleep. Return: with a reference, or ERR_PTR of -EEXIST, -ENOSPC, -ENODEV, -ENOMEM.
 */
struct bc_dirty *bc_dirty_create(struct bc_client *client, const char *path,
				 const struct bc_dirty_attr *attr, enum bc_name_base base);

/* By its path, with a reference; NULL if there is none. Process context. */
struct bc_dirty *bc_dirty_find(struct bc_client *client, const char *path);

void bc_dirty_get(struct bc_dirty *dirty);
/* Any context. */
void bc_dirty_put(struct bc_dirty *dirty);

/* Is there one somewhere below a directory? "" = all. Process context. */
bool bc_dirty_below(struct bc_client *client, const char *dir);

/**
 * bc_dirty_next_in - the next name that is just in a directory
 * @client: of a mount that writes back
 * @dir: directory, "" = the volume's root
 * @serial: in: of the one before, 0 = none; out: of this one
 *
 * Return: with a reference, or NULL. Process context.
 */
struct bc_dirty *bc_dirty_next_in(struct bc_client *client, const char *dir, u64 *serial);

/* The same of all of a volume. */
struct bc_dirty *bc_dirty_next(struct bc_client *client, u64 *serial);

const struct bc_key *bc_dirty_generation(const struct bc_dirty *dirty);

/* Its name, for the caller to free; ERR_PTR of -ENOMEM. */
char *bc_dirty_path(struct bc_dirty *dirty);

/* What was set last. Any context. */
void bc_dirty_attr(struct bc_dirty *dirty, struct bc_dirty_attr *attr);
void bc_dirty_set_attr(struct bc_dirty *dirty, const struct bc_dirty_attr *attr);

/* What to commit, once all that is dirty now was written. */
struct bc_dirty_point {
	u64 size;
	u32 shrunk;			/* counts truncations */
};

/* As of now. Any context. */
void bc_dirty_point(struct bc_dirty *dirty, struct bc_dirty_point *point);

/* Only the size, or only the times. A size grows after its blocks became dirty. */
void bc_dirty_set_size(struct bc_dirty *dirty, u64 size);
void bc_dirty_touch(struct bc_dirty *dirty, struct timespec64 now);

/* Somebody has it open for writing from now on; or not any more: then it may go to the store. */
void bc_dirty_writer(struct bc_dirty *dirty, int count);

/* Is there anything that bc_dirty_commit() would make durable? */
bool bc_dirty_uncommitted(struct bc_dirty *dirty);

/* The same of one that nobody has open for writing any more: the device does not say so yet. */
bool bc_dirty_closed_late(struct bc_dirty *dirty);

/**
 * bc_dirty_reserve - make sure that a block can become dirty, and be written
 * @dirty: object
 * @block: number of the block
 * @more: others behind it are likely to be written next
 *
 * Killable; waits for room for as long as some is being made, and a client's deadline more.
 * Return: 0, -ENOSPC, -EDQUOT..., -EINTR, -ENOMEM, -EIO.
 */
int bc_dirty_reserve(struct bc_dirty *dirty, u64 block, bool more);

/* Is there a reservation? Under the front end's lock of the block it stays. Any context. */
bool bc_dirty_reserved(struct bc_dirty *dirty, u64 block);

/* Is the block dirty? Then all its pages are there. Any context. */
bool bc_dirty_is(struct bc_dirty *dirty, u64 block);

/* Has the device a version of it with so many bytes that count? 0 = none: it is zeroes. */
u32 bc_dirty_stored(struct bc_dirty *dirty, u64 block);

/**
 * bc_dirty_mark - a block is dirty from now on, if there is a reservation
 *
 * Under the front end's lock of the block. Return: false if there is none: bc_dirty_reserve()
 * again.
 */
bool bc_dirty_mark(struct bc_dirty *dirty, u64 block);

/* The first dirty block from @block on, up to @last. Return: false if there is none. */
bool bc_dirty_next_dirty(struct bc_dirty *dirty, u64 *block, u64 last);

/* Pages of a block. */
#define BC_DIRTY_PAGES	(BC_BLOCK_SIZE >> PAGE_SHIFT)

/**
 * struct bc_dirty_write - one block on its way to the device
 * @dirty: object; whoever waits for the writeback holds it
 * @done: called once; the front end ends the writeback of the folios, by which @dirty may
 *	go. From any context, but after an error, which is in process context: then the block is
 *	dirty again, and so must its folios be.
 * @count: of @folio
 * @folio: the front end's, a page each, in order, from the block's first on
 * @copy: a copy is to be written: devices may write to the folios
 * @flags: REQ_* that are added to the request's
 */
struct bc_dirty_write {
	struct bc_dirty *dirty;
	void (*done)(struct bc_dirty_write *write, int error);
	u32 count;
	bool copy;
	struct folio *folio[BC_DIRTY_PAGES];
	blk_opf_t flags;
	/* The engine's: */
	void *bounce;
	struct bc_dirty_block *block;
	struct bc_place place;
	u64 seq;
	u32 length, crc;
	int error;
	struct work_struct work;
	struct bio bio;			/* the last */
};

/**
 * bc_dirty_write_begin - write a dirty block
 * @dirty: object
 * @block: number of a block
 * @length: bytes that count
 *
 * Under the front end's lock of the block, all its pages being about to be in writeback; then
 * bc_dirty_write_submit() must follow. From mempools only. Return: NULL if it is not dirty.
 */
struct bc_dirty_write *bc_dirty_write_begin(struct bc_dirty *dirty, u64 block, u32 length);

/*
 * Its folios are in writeback, and stable until done(), or @copy says so. Until here the block is
 * found by
 * bc_dirty_next_dirty(): who looks for dirty blocks and does not find it finds the writeback.
 */
void bc_dirty_write_submit(struct bc_dirty_write *write);

/**
 * struct bc_dirty_io - a read of bytes of one block, which is not dirty
 * @dirty: object; the caller's reference lasts until @done
 * @pos: in the object
 * @length: inside the block
 * @bvecs: where to; stable until @done. What does not count is zeroed.
 * @nr_bvecs: their number
 * @done: called once, from any context, perhaps before bc_dirty_read() returns
 */
struct bc_dirty_io {
	struct bc_dirty *dirty;
	u64 pos;
	u32 length;
	u32 nr_bvecs;
	struct bio_vec *bvecs;
	void (*done)(struct bc_dirty_io *io, int error);
	/* The engine's: */
	struct work_struct work;
	struct page **bounce;
	u64 seq;
	u32 stored, crc, valid;
	int error;
};

/* Queue it and return. May sleep for memory (GFP_NOFS). */
void bc_dirty_read(struct bc_dirty_io *io);

/**
 * struct bc_dirty_rename - with a commit comes another name
 * @path: from now on; the object's name is held
 * @base: what the store has there
 * @victim: the dirty object that has this name, superseded; or NULL
 */
struct bc_dirty_rename {
	const char *path;
	enum bc_name_base base;
	struct bc_dirty *victim;
};

/**
 * bc_dirty_commit - make what was written durable, and the name
 * @dirty: object
 * @point: of before it was written
 * @rename: NULL, or its name from now on
 *
 * May sleep, not killable: waits for the device. Return: 0 or errno; -EAGAIN if the object was cut
 * off since @point: begin anew; -EIO means that nothing of this tier can be made durable any more,
 * or that the device failed once.
 */
int bc_dirty_commit(struct bc_dirty *dirty, const struct bc_dirty_point *point,
		    const struct bc_dirty_rename *rename);

/* Can it be cut off there, or must what was cut off before be committed first? May sleep. */
bool bc_dirty_can_truncate(struct bc_dirty *dirty, u64 size);

/**
 * bc_dirty_truncate - cut off what is behind @size
 * @dirty: object; the front end's pages behind it are gone, none can come, and nobody writes
 * @size: from where on; bc_dirty_can_truncate() said so
 *
 * May sleep.
 */
void bc_dirty_truncate(struct bc_dirty *dirty, u64 size);

/**
 * bc_dirty_hold - its name is about to change, or to go
 * @dirty: object
 * @removed: it is to go
 *
 * Until bc_dirty_unhold() no upload of it can begin, and one that is under way ends with -ESTALE:
 * so what the lower has by its name is not made anew while it is being removed. What the store has
 * of it is forgotten, durably. One holder at a time: whoever has the locks of its name. May sleep.
 * Return: 0 or errno; then it is not held.
 */
int bc_dirty_hold(struct bc_dirty *dirty, bool removed);
void bc_dirty_unhold(struct bc_dirty *dirty);

/**
 * bc_dirty_supersede - another object is about to get its name, or did not
 * @dirty: victim-to-be
 * @superseded: true, and false when that is over, whether it is gone or not
 *
 * Meanwhile bc_dirty_commit() and ends of uploads of it wait: of two names on a tier the one that
 * was written last counts. May sleep.
 */
void bc_dirty_supersede(struct bc_dirty *dirty, bool superseded);

/*
 * A rename of @other over it failed, and it is not known what @other's tier says of it: if both
 * turn up, neither is to be taken for replaced. May sleep.
 */
void bc_dirty_survived(struct bc_dirty *dirty, const struct bc_dirty *other);

/* May the lower, or the store, have a file of its name? */
bool bc_dirty_has_counterpart(const struct bc_dirty *dirty);

/* Has the store all of it, as which version? Process context. */
bool bc_dirty_committed(struct bc_dirty *dirty, struct bc_version *version);

/* It is about to be retired: what uses it and is not needed goes. Or not any more. */
void bc_dirty_set_retiring(struct bc_dirty *dirty, bool retiring);

/* Is it of no use to keep an inode of it that nobody has open? Any context. */
bool bc_dirty_unused(const struct bc_dirty *dirty);

/* Has it no name any more? Any context. */
bool bc_dirty_is_unlinked(const struct bc_dirty *dirty);

/**
 * bc_dirty_retire - the store has it, and the lower shows it: it is a clean file from now on
 * @dirty: object; the caller's reference is the only one
 *
 * Its blocks become chunks of the committed version, as far as they lie so. May sleep. Return: 0;
 * -EBUSY if somebody uses it, or it is not committed; -EIO.
 */
int bc_dirty_retire(struct bc_dirty *dirty);

/* The name goes, durably; bytes last as long as references. May sleep. Return: 0 or errno. */
int bc_dirty_unlink(struct bc_dirty *dirty);

/* The same of one whose name another has, durably: it does not count, whatever the device says. */
void bc_dirty_replaced(struct bc_dirty *dirty);

/*
 * What was dirty of it is gone from the page cache without having been written: the object is what
 * is durable. Return: whether there was any.
 */
bool bc_dirty_lost(struct bc_dirty *dirty);

#endif /* BC_BACK_H */
