/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several threads at one thing. Assertions belong to the test's own thread: the others count what
 * is wrong.
 */
#ifndef BC_KUNIT_THREADS_H
#define BC_KUNIT_THREADS_H

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/sched/task.h>

#define BC_KUNIT_THREADS	4

struct bc_kunit_threads {
	void (*run)(void *arg);
	void *arg;
	struct task_struct *task[BC_KUNIT_THREADS];
	atomic_t running;
	struct completion ended;
};

static inline void bc_kunit_one_ended(struct bc_kunit_threads *threads)
{
	if (atomic_dec_and_test(&threads->running))
		complete_all(&threads->ended);	/* it may be waited for twice */
}

static int bc_kunit_thread(void *data)
{
	struct bc_kunit_threads *threads = data;

	threads->run(threads->arg);
	bc_kunit_one_ended(threads);
	return 0;
}

static inline void bc_kunit_start(struct kunit *test, struct bc_kunit_threads *threads,
				  void (*run)(void *arg), void *arg)
{
	int i;

	threads->run = run;
	threads->arg = arg;
	init_completion(&threads->ended);
	atomic_set(&threads->running, BC_KUNIT_THREADS);
	for (i = 0; i < BC_KUNIT_THREADS; i++) {
		struct task_struct *task = kthread_create(bc_kunit_thread, threads, "kunit-%d", i);

		if (IS_ERR(task)) {
			KUNIT_FAIL(test, "no thread: %ld", PTR_ERR(task));
			bc_kunit_one_ended(threads);
			continue;
		}
		threads->task[i] = get_task_struct(task);
		wake_up_process(task);
	}
}

static inline void bc_kunit_wait(struct bc_kunit_threads *threads)
{
	int i;

	wait_for_completion(&threads->ended);
	/* They still run code of this module. A thread stopped before it ran would not have run. */
	for (i = 0; i < BC_KUNIT_THREADS; i++) {
		if (!threads->task[i])
			continue;
		kthread_stop(threads->task[i]);
		put_task_struct(threads->task[i]);
		threads->task[i] = NULL;
	}
}

#endif /* BC_KUNIT_THREADS_H */
