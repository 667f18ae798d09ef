/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The daemon's life: everything is opened in one order, and closed in the reverse. */

/*
 * Opening: signals, loop, run directory with its lock (so that all that follows belongs to this
 * daemon alone), tables, workers, uplink, VMs, control socket; then the uplink's programs let
 * frames in, and the service manager is told. Whatever fails has logged why, and daemon_close()
 * takes apart what there is.
 *
 * Closing: the control socket goes first (no more orders), then the programs (no more frames),
 * then workers are given empty lists, after which ports can be freed in any order.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "control/balance.h"
#include "control/ctl.h"
#include "control/daemon.h"
#include "control/log.h"
#include "control/notify.h"
#include "control/workers.h"
#include "vxs_ctl.h"

#define SECOND_MS 1000

static void on_event(void *arg, uint32_t events)
{
	struct daemon *d = arg;
	eventfd_t count;

	(void)events;
	eventfd_read(d->event_fd, &count); /* before the rings are read: no report is missed */
	daemon_events(d);
}

static void on_signal(void *arg, uint32_t events)
{
	struct signalfd_siginfo info;
	struct daemon *d = arg;

	(void)events;
	if (read(d->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	log_info("%s: ending", strsignal(info.ssi_signo));
	loop_end(d->loop);
}

static void on_second(void *arg, uint32_t events)
{
	struct daemon *d = arg;
	unsigned id;

	(void)events;
	daemon_age(d);
	balance_second(d);
	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++)
		if (d->vm[id]) {
			vm_broken(d->vm[id]);
			daemon_look_at_vm(d, d->vm[id]);
		}
	if (d->nic) {
		nic_read_drops(d->nic);
		nic_busy_look(d->nic);
	}
	if (d->host)
		host_read_drops(d->host);
}

/* SIGHUP ends us too (the terminal went), unless whoever started us had it ignored (nohup). */
static int open_signals(struct daemon *d)
{
	struct sigaction hup;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (!sigaction(SIGHUP, NULL, &hup) && hup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	/* before any thread is made: all inherit it, so signals reach the fd alone */
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return d->signal_fd < 0 ? -errno : 0;
}

static int open_loop(struct daemon *d)
{
	int err;

	err = open_signals(d);
	if (err)
		return err;
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->event_fd < 0)
		return -errno;
	err = loop_new(&d->loop);
	if (!err)
		err = loop_watch(d->loop, &d->signal_watch, d->signal_fd, EPOLLIN, on_signal, d);
	if (!err)
		err = loop_watch(d->loop, &d->event_watch, d->event_fd, EPOLLIN, on_event, d);
	if (!err)
		err = loop_timer(d->loop, &d->second, SECOND_MS, on_second, d);
	return err;
}

static int open_tables(struct daemon *d)
{
	struct tables_options setup = {.name = d->opt->name, .workers = workers_count(d->opt)};
	int queues;

	if (d->opt->uplink.ifname[0]) {
		queues = nic_count_queues(&d->opt->uplink);
		if (queues < 0)
			return queues;
		setup.need_bpf = true;
		setup.nic_queues = queues;
	}
	return tables_open(&d->tables, &setup);
}

static int open_vms(struct daemon *d)
{
	char err[256];
	unsigned i;
	int ret = 0;

	for (i = 0; !ret && i < d->opt->n_vms; i++)
		ret = daemon_add_vm(d, &d->opt->vm[i], err, sizeof(err)); /* logs */
	return ret;
}

static int open_ctl(struct daemon *d)
{
	char path[108];

	if (run_dir_file(d->run_dir, path, sizeof(path), VXS_CTL_SOCKET, "")) {
		log_error("the control socket's path would be too long: give a shorter --run-dir");
		return -ENAMETOOLONG;
	}
	return ctl_open(&d->ctl, d, path);
}

static void say_ready(struct daemon *d)
{
	struct nic_state nic = {.ifname = "none", .mode = ""};
	char text[256];

	if (d->nic)
		nic_state(d->nic, &nic);
	snprintf(text, sizeof(text), "switch \"%s\", %u VM%s, %u worker%s, uplink %s%s%s%s",
		 d->opt->name, d->opt->n_vms, d->opt->n_vms == 1 ? "" : "s", d->n_workers,
		 d->n_workers == 1 ? "" : "s", nic.ifname, *nic.mode ? " (" : "", nic.mode,
		 *nic.mode ? ")" : "");
	log_info("ready: %s", text);
	notify_manager("READY=1\nSTATUS=%s\nMAINPID=%d", text, getpid());
}

static int open_all(struct daemon *d)
{
	int err;

	err = open_loop(d);
	if (!err)
		err = daemon_open_learn(d);
	if (err) {
		log_error("cannot start: %s", strerror(-err));
		return err;
	}
	err = run_dir_open(&d->run_dir, d->opt->name, d->opt->run_dir);
	if (!err)
		daemon_tidy_uplink(d);
	if (!err)
		err = open_tables(d);
	if (!err)
		err = workers_start(d);
	if (!err)
		err = balance_open(d);
	if (!err && d->opt->uplink.ifname[0])
		err = daemon_open_uplink(d);
	if (!err)
		err = daemon_publish(d);
	if (!err)
		err = open_vms(d);
	if (!err)
		err = open_ctl(d);
	if (!err)
		err = daemon_attach_uplink(d);
	return err;
}

int daemon_open(struct daemon **out, const struct options *opt)
{
	struct daemon *d = calloc(1, sizeof(*d));
	struct timespec now;
	int err;

	if (!d)
		return -ENOMEM;
	d->opt = opt;
	d->event_fd = -1;
	d->signal_fd = -1;
	clock_gettime(CLOCK_REALTIME, &now);
	d->started = now.tv_sec;
	err = open_all(d);
	if (err) {
		daemon_close(d);
		return err;
	}
	say_ready(d);
	*out = d;
	return 0;
}

int daemon_run(struct daemon *d)
{
	int err = loop_run(d->loop);

	notify_manager("STOPPING=1");
	return err;
}

static void close_ports(struct daemon *d)
{
	unsigned id;

	daemon_close_uplink(d);
	daemon_unpublish_all(d);
	for (id = VXS_PORT_VM; id < VXS_PORTS_MAX; id++) {
		struct vm *vm = d->vm[id];

		d->vm[id] = NULL;
		vm_free(vm);
	}
}

void daemon_close(struct daemon *d)
{
	if (!d)
		return;
	ctl_close(d->ctl);
	if (d->n_workers)
		close_ports(d);
	workers_stop(d);
	tables_close(d->tables);
	daemon_close_learn(d);
	run_dir_close(d->run_dir);
	balance_close(d);
	loop_unwatch(d->second);
	loop_unwatch(d->event_watch);
	loop_unwatch(d->signal_watch);
	loop_free(d->loop);
	if (d->event_fd >= 0)
		close(d->event_fd);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	free(d);
}
