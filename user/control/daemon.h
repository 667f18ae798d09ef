/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The running switch, as the control thread sees it: everything there is, and its life cycle. */
#ifndef DAEMON_H
#define DAEMON_H

#include "control/link.h"
#include "control/loop.h"
#include "control/options.h"
#include "control/run_dir.h"
#include "control/tables.h"
#include "host/host.h"
#include "nic/nic.h"
#include "switch/switch.h"
#include "vm/vm.h"

struct ctl;
struct watchdog;
struct learn;

/* A VM's state when it last changed, so that the next change shows what is new. */
struct vm_seen {
	bool running;   /* as logged; also while it rests for a moment */
	bool rests;     /* it waits for memory */
	bool rested;    /* it did when it was last looked at, and all the time since */
	unsigned pairs; /* that run, as last logged */
	uint64_t connections;
	uint32_t mtu, mtu_uplink; /* the last two that were warned of */
};

/* Control thread only; workers see @sw and their own struct worker. */
struct daemon {
	const struct options *opt;
	struct loop *loop;
	struct run_dir *run_dir;
	struct tables *tables;
	struct vswitch sw;
	struct learn *learn; /* learn.c's */
	unsigned n_workers;
	struct worker **worker;
	struct watchdog *watchdog;
	struct nic *nic;        /* NULL without uplink */
	struct host *host;      /* NULL unless the host shares the NIC */
	struct link *link;      /* watches the NIC */
	bool nic_up;            /* as last logged */
	struct vm_link vm_link; /* the NIC's, as VMs are told */
	uint64_t nic_key;       /* the NIC's own address, a static entry; 0: none */
	struct ctl *ctl;
	struct vm *vm[VXS_PORTS_MAX]; /* by port number */
	struct vm_seen seen[VXS_PORTS_MAX];
	int event_fd;  /* eventfd: workers have reported something */
	int signal_fd; /* SIGTERM, SIGINT, SIGHUP */
	struct loop_watch *event_watch, *signal_watch, *second;
	struct loop_watch *balance_alarm; /* balance.c's; NULL with a single worker */
	bool balance_set;                 /* it will go off in a moment */
	bool balance_due;                 /* it wasn't done since something changed */
	unsigned balance_moved;           /* how often queues moved in this second, or tried to */
	unsigned balance_failed;          /* how often it failed since it last did not */
	uint64_t started;                 /* CLOCK_REALTIME seconds */
};

/* daemon.c: life cycle. */

/**
 * daemon_open() - start the switch: everything but the control thread's loop
 * @out: where it goes
 * @opt: the command line; must live as long as the daemon
 *
 * Blocks SIGTERM, SIGINT and SIGHUP in the calling thread, which becomes the control thread. When
 * it fails, the reason was logged and nothing is left behind.
 *
 * Return: 0 or -errno.
 */
int daemon_open(struct daemon **out, const struct options *opt);
/** daemon_run() - control's loop, until a signal says to end. 0 or -errno. */
int daemon_run(struct daemon *d);
/** daemon_close() - stop, and put everything back. NULL and half-opened are fine. */
void daemon_close(struct daemon *d);

/* uplink.c: the NIC and the host behind it. */

/** daemon_tidy_uplink() - undo what a killed run of this name did to a NIC that we do not take. */
void daemon_tidy_uplink(struct daemon *d);
/** daemon_open_uplink() - NIC and host, not yet published; logs what failed. 0 or -errno. */
int daemon_open_uplink(struct daemon *d);
/** daemon_attach_uplink() - let frames in; the ports are published. Logs. 0 or -errno. */
int daemon_attach_uplink(struct daemon *d);
/** daemon_close_uplink() - detach, unpublish and free both; harmless without an uplink. */
void daemon_close_uplink(struct daemon *d);

/** daemon_tell_link() - tell a VM's front-end the uplink's speed; without one it is unknown. */
void daemon_tell_link(struct daemon *d, struct vm *vm);

/* ports.c: ports come and go. @err gets one line for the user. */

/**
 * daemon_add_vm() - make a VM's port and let its front-end in; frames may flow meanwhile
 * @d:   the daemon
 * @opt: what the user asked for; socket "" for RUN-DIR/NAME.sock
 * @err: where one line goes that names the object, the reason and the remedy
 * @err_len: its size in bytes
 *
 * Logs the reason when it fails, too. Return: 0 or -errno (-EEXIST: name or address taken; -ENOSPC:
 * no number free; and vm_new()'s).
 */
int daemon_add_vm(struct daemon *d, const struct vm_options *opt, char *err, size_t err_len);
/** daemon_del_vm() - cut a VM off and remove its port; -ENOENT, -EPERM (not a VM), -ENOMEM. */
int daemon_del_vm(struct daemon *d, const char *name, char *err, size_t err_len);
/** daemon_find_port() - by name; "uplink" and "host" work always. NULL: there is none. */
struct port *daemon_find_port(struct daemon *d, const char *name);
/** daemon_look_at_vm() - once a second: log how many of its queues run, if that has changed, and
 * that it stopped if what it rests for doesn't come.
 */
void daemon_look_at_vm(struct daemon *d, struct vm *vm);
/** daemon_mtu_warning() - if a VM's MTU is longer than the uplink's: true, and what to do. */
bool daemon_mtu_warning(const struct daemon *d, const struct vm *vm, char *text, size_t size);
/** daemon_check_mtu() - log that warning, once for the same two MTUs. */
void daemon_check_mtu(struct daemon *d, struct vm *vm);
/** daemon_publish() - give workers the ports that @d has now, and wait until all use them. */
int daemon_publish(struct daemon *d);
/** daemon_unpublish_all() - workers get no port any more; can't fail. */
void daemon_unpublish_all(struct daemon *d);
/** daemon_show_port() - bring a port's entry of the map "ports" up to date. */
void daemon_show_port(struct daemon *d, const struct port *p);

extern const struct vm_carrier
	daemon_carrier; /* carry.c: what moves with a VM; its arg is the daemon */

/* learn.c: addresses come, move, age and go; user table, BPF map and NIC filter as one. */
int daemon_open_learn(struct daemon *d);
void daemon_close_learn(struct daemon *d);
/** daemon_learn_address() - as from a frame that port @p sent, if it may; false: it may not. */
bool daemon_learn_address(struct daemon *d, const struct port *p, uint64_t key);
int daemon_set_address(struct daemon *d, uint64_t key, uint32_t port, bool fixed);
void daemon_del_address(struct daemon *d, uint64_t key);
void daemon_events(struct daemon *d); /* what workers reported; bounded work */
void daemon_age(struct daemon *d);    /* once a second */
unsigned daemon_forget_port(struct daemon *d, uint32_t port);    /* all its addresses */
unsigned daemon_forget_learned(struct daemon *d, uint32_t port); /* all but its static ones */

#endif
