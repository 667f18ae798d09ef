/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line of vxsd: one table of options, from which parser and --help are made. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "control/log.h"
#include "switch/worker.h"
#include "vm/vm.h"

#define OPTIONS_CPUS_MAX    64
#define OPTIONS_VMS_MAX     (VXS_PORTS_MAX - VXS_PORT_VM)
#define OPTIONS_REASON_SIZE 384 /* of one line of complaint without the words it is about */

enum uplink_mode { UPLINK_AUTO, UPLINK_ZC, UPLINK_COPY, UPLINK_SKB };

struct uplink_options {
	char ifname[16]; /* "": no uplink */
	enum uplink_mode mode;
	unsigned queues; /* 0: all that the NIC has */
	bool busy_poll;
	bool no_gro; /* TCP segments from the wire are not joined for guests that take TSO */
};

struct options {
	char name[VXS_NAME_SIZE];
	char run_dir[80]; /* the switch's own directory, default /run/vxs/NAME */
	struct uplink_options uplink;
	bool host_share;
	unsigned n_vms;
	struct vm_options *vm; /* n_vms of them */
	unsigned n_cpus;       /* 0: one worker, not pinned */
	int cpu[OPTIONS_CPUS_MAX];
	enum poll_mode poll;
	unsigned idle_us; /* time without work before an adaptive worker sleeps */
	enum log_level log_level;
	unsigned ageing; /* seconds, default 300; 0: addresses never age */
};

/* What options_parse() returns beside 0. */
#define OPTIONS_DONE 1 /* --help, --version, --print-capabilities: answered on stdout: exit 0 */

/**
 * options_parse() - read the command line
 * @opt:  filled in; free it with options_free() whatever is returned
 * @argc: as main() has them
 * @argv: as main() has them
 * @err:  one line that names the option, the reason and the remedy, if -EINVAL is returned
 * @err_len: its size in bytes
 *
 * Return: 0, OPTIONS_DONE, -EINVAL (usage: exit status 2), -ENOMEM.
 */
int options_parse(struct options *opt, int argc, char **argv, char *err, size_t err_len);
void options_free(struct options *opt);
void options_help(FILE *to);

/*
 * options_backend.c: vxsd as a program that management tools start for one VM, in the way that
 * QEMU's vhost-user.rst describes under "Backend program conventions".
 */

#define OPTIONS_BACKEND_VM "vm0" /* name of the port that --fd or --socket-path makes */

/** options_print_capabilities() - what we are, as JSON (QEMU's vhost-user.json). */
void options_print_capabilities(FILE *to);
/**
 * options_name_backend() - name and directory of a switch that none of its starters thinks of
 * @opt: has one VM from --fd or --socket-path; name and run_dir are set, the latter to "" if there
 *       is no better one than the default
 *
 * Two such switches don't meet, and one that is started anew for the same path finds, and tidies,
 * what a killed one left.
 */
void options_name_backend(struct options *opt, const struct vm_options *vm);

/**
 * options_parse_vm() - read the words of one --vm, or of `vxsctl port add`
 * @vm:   filled in; socket is "" unless given
 * @text: NAME[,key=value...]
 * @err, @err_len: as in options_parse()
 */
int options_parse_vm(struct vm_options *vm, const char *text, char *err, size_t err_len);

struct words;
struct complaint;

/** options_check_vm() - whether the words of a VM go together; 0, or -EINVAL with a complaint. */
int options_check_vm(const struct vm_options *vm, struct complaint *c);
/** options_parse_fd() - the number of an open file, beyond stdin, stdout and stderr. */
int options_parse_fd(const char *text, int *fd, struct complaint *c);
/** options_check_fd() - whether a front-end can come by it; 0, or -errno: no Unix stream socket. */
int options_check_fd(int fd);

extern const struct words options_vm_words, options_uplink_words; /* their tables of keys */

/** options_parse_mac() - six bytes, ':' between them, unicast, not zero; 0 or -EINVAL. */
int options_parse_mac(const char *text, uint8_t mac[6]);
void options_format_mac(const uint8_t mac[6], char text[18]);

#endif
