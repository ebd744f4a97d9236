// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clients (mounts, disks) and objects (versions of blobs).
 */
#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/slab.h>

#include "fill.h"
#include "object.h"

static atomic64_t unbound_serial = ATOMIC64_INIT(0);

bool bc_source_valid(const char *source)
{
	const char *name = strstr(source, "://");

	return name && name > source && name[3];
}

bool bc_path_valid(const char *path)
{
	while (*path) {
		size_t length = strcspn(path, "/");

		if (!length || (length <= 2 && !memcmp(path, "..", length)))
			return false;
		path += length;
		if (*path == '/' && !*++path)
			return false;
	}
	return true;
}

struct bc_client *bc_client_create(const struct bc_client_options *options)
{
	struct bc_client *client;

	if (!options->source || !*options->source ||
	    strlen(options->source) > BC_NL_SOURCE_MAX ||
	    options->deadline_ms < BC_DEADLINE_MIN_MS ||
	    options->deadline_ms > BC_DEADLINE_MAX_MS ||
	    !options->lower_workers || options->lower_workers > 64)
		return ERR_PTR(-EINVAL);

	client = kzalloc(sizeof(*client), GFP_KERNEL);
	if (!client)
		return ERR_PTR(-ENOMEM);
	client->source = kstrdup(options->source, GFP_KERNEL);
	client->domain = kstrdup(options->domain, GFP_KERNEL);
	if (!client->source || (options->domain && !client->domain)) {
		kfree(client->source);
		kfree(client->domain);
		kfree(client);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&client->ref);
	bc_key_volume(options->source, options->domain, &client->volume);
	client->on_daemon_loss = options->on_daemon_loss;
	client->deadline_ms = options->deadline_ms;
	client->lower_exact = options->lower_exact;
	client->lower_workers = options->lower_workers;
	spin_lock_init(&client->lower_lock);
	INIT_LIST_HEAD(&client->lower_queue);
	return client;
}

static void client_release(struct kref *ref)
{
	struct bc_client *client = container_of(ref, struct bc_client, ref);

	WARN_ON_ONCE(!list_empty(&client->lower_queue));
	kfree(client->source);
	kfree(client->domain);
	kfree(client);
}

void bc_client_put(struct bc_client *client)
{
	kref_put(&client->ref, client_release);
}

void bc_client_abort(struct bc_client *client)
{
	bc_fills_abort(client, -EIO);
}

void bc_client_kill(struct bc_client *client)
{
	WRITE_ONCE(client->dead, true);
	bc_fills_abort(client, -EIO);
}

void bc_client_destroy(struct bc_client *client)
{
	bc_client_kill(client);
	bc_client_put(client);
}

const struct bc_key *bc_client_volume_id(const struct bc_client *client)
{
	return &client->volume;
}

u32 bc_client_lower_busy(const struct bc_client *client)
{
	return READ_ONCE(client->lower_busy) + READ_ONCE(client->lower_left);
}

static void unbound_key(struct bc_key *key)
{
	u64 serial = atomic64_inc_return(&unbound_serial);

	/* Not a BLAKE2s of anything anybody can name: zero bytes, then a serial. */
	memset(key, 0, sizeof(*key));
	memcpy(key->bytes, &serial, sizeof(serial));
}

bool bc_version_valid(const struct bc_version *version)
{
	return version->etag_length && version->etag_length <= BC_ETAG_MAX &&
	       strnlen(version->etag, BC_ETAG_MAX) == version->etag_length &&
	       version->size <= (u64)U32_MAX << BC_CHUNK_SHIFT;
}

struct bc_object *bc_object_create(struct bc_client *client, const char *path,
				   const struct bc_version *version,
				   const struct bc_object_ops *ops, void *private)
{
	size_t length = strlen(path);
	struct bc_object *object;
	int ret = -EINVAL;

	if (!length || length > BC_NL_PATH_MAX || (version && !bc_version_valid(version)))
		goto err_private;
	ret = -ENOMEM;
	object = kzalloc(sizeof(*object) + length + 1, GFP_NOFS);
	if (!object)
		goto err_private;
	kref_init(&object->ref);
	kref_get(&client->ref);
	object->client = client;
	object->ops = ops;
	object->private = private;
	mutex_init(&object->bind_mutex);
	init_waitqueue_head(&object->bind_wait);
	object->path_length = length;
	memcpy(object->path, path, length + 1);
	if (version) {
		object->version = *version;
		object->binding = BC_BOUND_STORE;
		bc_key_version(&client->volume, path, length, version->etag,
			       version->etag_length, &object->key);
	} else {
		object->binding = BC_UNBOUND;
		unbound_key(&object->key);
	}
	return object;

err_private:
	if (ops->release)
		ops->release(private);
	return ERR_PTR(ret);
}

struct bc_object *bc_object_create_lower(struct bc_client *client, const char *path,
					 const struct bc_object_ops *ops, void *private)
{
	struct bc_object *object = bc_object_create(client, path, NULL, ops, private);

	if (!IS_ERR(object))
		object->lower_only = true;
	return object;
}

void bc_object_get(struct bc_object *object)
{
	kref_get(&object->ref);
}

static void object_release(struct kref *ref)
{
	struct bc_object *object = container_of(ref, struct bc_object, ref);

	if (object->ops->release)
		object->ops->release(object->private);
	bc_client_put(object->client);
	kfree(object);
}

void bc_object_put(struct bc_object *object)
{
	kref_put(&object->ref, object_release);
}

void bc_object_open(struct bc_object *object)
{
	atomic_inc(&object->users);
}

void bc_object_close(struct bc_object *object)
{
	if (atomic_dec_and_test(&object->users))
		bc_fills_cancel(object);
}

void *bc_object_private(const struct bc_object *object)
{
	return object->private;
}

enum bc_binding bc_object_binding(const struct bc_object *object)
{
	return bc_object_bound(object);
}

bool bc_object_version(const struct bc_object *object, struct bc_version *version)
{
	if (bc_object_bound(object) == BC_UNBOUND)
		return false;
	*version = object->version;
	return true;
}

const struct bc_key *bc_object_key(const struct bc_object *object)
{
	return bc_object_bound(object) == BC_BOUND_STORE ? &object->key : NULL;
}

static bool same_version(const struct bc_object *object, enum bc_binding binding,
			 const struct bc_version *version)
{
	return object->binding == binding && object->version.size == version->size &&
	       object->version.etag_length == version->etag_length &&
	       !memcmp(object->version.etag, version->etag, version->etag_length);
}

int bc_object_set_version(struct bc_object *object, enum bc_binding binding,
			  const struct bc_version *version)
{
	struct bc_key key = object->key;
	int ret = 0;

	if (!bc_version_valid(version))
		return -EINVAL;
	mutex_lock(&object->bind_mutex);
	if (object->binding != BC_UNBOUND) {
		if (!same_version(object, binding, version))
			ret = -ESTALE;
		goto out;
	}
	if (binding == BC_BOUND_STORE)
		bc_key_version(&object->client->volume, object->path, object->path_length,
			       version->etag, version->etag_length, &key);
	bc_fills_bind(object, binding, version, &key);
	if (object->ops->bound)
		object->ops->bound(object->private, object);
	wake_up_all(&object->bind_wait);
out:
	mutex_unlock(&object->bind_mutex);
	return ret;
}
