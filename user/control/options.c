/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line of vxsd: one table of options, from which parser and --help are made. */
#include "control/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/words.h"
#include "vxs_ctl.h"

#define AGEING_DEFAULT 300
#define AGEING_MAX     1000000
#define IDLE_US_MAX    1000000

/* What is known only while the command line is read. */
struct parsing {
	struct options *opt;
	bool host_given;
	bool name_given;
	const char *backend; /* --fd or --socket-path, whichever was given */
	unsigned backend_vm; /* the VM that it made */
	bool idle_us_given;
};

/* An option. A parser returns 0, -EINVAL with a complaint, -ENOMEM, or OPTIONS_DONE. */
struct option_row {
	const char *name;
	const char *value; /* NULL: it takes none */
	const char *help;
	bool repeat; /* may be given more than once */
	const struct words *words;
	int (*parse)(struct parsing *p, const char *value, struct complaint *c);
};

static int parse_name(struct parsing *p, const char *value, struct complaint *c)
{
	p->name_given = true;
	return words_name(value, p->opt->name, sizeof(p->opt->name), c);
}

static int parse_uplink(struct parsing *p, const char *value, struct complaint *c)
{
	return words_parse(&options_uplink_words, &p->opt->uplink, value, c);
}

static int add_vm(struct options *opt, const struct vm_options *vm, struct complaint *c)
{
	struct vm_options *grown;

	if (opt->n_vms >= OPTIONS_VMS_MAX)
		return complain(c, "a switch has room for %d VMs: start a second one (--name)",
				OPTIONS_VMS_MAX);
	grown = reallocarray(opt->vm, opt->n_vms + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	opt->vm = grown;
	opt->vm[opt->n_vms++] = *vm;
	return 0;
}

static int parse_vm(struct parsing *p, const char *value, struct complaint *c)
{
	struct vm_options vm = {.queues = 1};
	int err = words_parse(&options_vm_words, &vm, value, c);

	if (!err)
		err = options_check_vm(&vm, c);
	return err ? err : add_vm(p->opt, &vm, c);
}

/* One of the two is enough: there is one front-end, and one way to it. */
static int add_backend(struct parsing *p, const char *option, const struct vm_options *vm,
		       struct complaint *c)
{
	if (p->backend)
		return complain(c, "%s was given, too: give one of them", p->backend);
	p->backend = option;
	p->backend_vm = p->opt->n_vms;
	return add_vm(p->opt, vm, c);
}

static int parse_fd(struct parsing *p, const char *value, struct complaint *c)
{
	struct vm_options vm = {.name = OPTIONS_BACKEND_VM, .queues = 1};
	int err = options_parse_fd(value, &vm.fd, c);

	return err ? err : add_backend(p, "--fd", &vm, c);
}

static int parse_socket_path(struct parsing *p, const char *value, struct complaint *c)
{
	struct vm_options vm = {.name = OPTIONS_BACKEND_VM, .queues = 1};
	int err = words_path(value, vm.socket, sizeof(vm.socket), c);

	return err ? err : add_backend(p, "--socket-path", &vm, c);
}

static int parse_host(struct parsing *p, const char *value, struct complaint *c)
{
	static const char *const words[] = {"off", "share", NULL};
	int i = words_choice(value, words, c);

	if (i < 0)
		return i;
	p->opt->host_share = i;
	p->host_given = true;
	return 0;
}

static int add_cpu(struct options *opt, unsigned cpu, struct complaint *c)
{
	long present = sysconf(_SC_NPROCESSORS_CONF);
	unsigned i;

	if (present > 0 && cpu >= present)
		return complain(c, "there is no CPU %u: this machine has 0 to %ld", cpu,
				present - 1);
	for (i = 0; i < opt->n_cpus; i++)
		if (opt->cpu[i] == (int)cpu)
			return complain(c, "CPU %u is named twice: name it once", cpu);
	if (opt->n_cpus >= OPTIONS_CPUS_MAX)
		return complain(c, "these are too many: name %d CPUs at most", OPTIONS_CPUS_MAX);
	opt->cpu[opt->n_cpus++] = cpu;
	return 0;
}

/* A number at *@at, which moves behind it; -EINVAL if there is none below 100,000. */
static int take_number(const char **at, unsigned *value)
{
	unsigned digits = 0;

	for (*value = 0; isdigit((unsigned char)**at); (*at)++) {
		if (++digits > 5)
			return -EINVAL;
		*value = *value * 10 + **at - '0';
	}
	return digits ? 0 : -EINVAL;
}

static int parse_cpus(struct parsing *p, const char *value, struct complaint *c)
{
	const char *at = value;
	unsigned first, last;
	int err;

	do {
		if (take_number(&at, &first))
			goto bad;
		last = first;
		if (*at == '-') {
			at++;
			if (take_number(&at, &last) || last < first)
				goto bad;
		}
		if (*at && *at != ',')
			goto bad;
		for (; first <= last; first++) {
			err = add_cpu(p->opt, first, c);
			if (err)
				return err;
		}
	} while (*at++ == ',');
	return 0;
bad:
	return complain(c, "this is not a list of CPUs: write it like 0-3,5");
}

static int parse_poll(struct parsing *p, const char *value, struct complaint *c)
{
	static const char *const words[] = {
		[POLL_ADAPTIVE] = "adaptive",
		[POLL_BUSY] = "busy",
		[POLL_INTERRUPT] = "interrupt",
		[POLL_INTERRUPT + 1] = NULL,
	};
	int i = words_choice(value, words, c);

	if (i < 0)
		return i;
	p->opt->poll = i;
	return 0;
}

static int parse_idle_us(struct parsing *p, const char *value, struct complaint *c)
{
	p->idle_us_given = true;
	return words_number(value, 0, IDLE_US_MAX, &p->opt->idle_us, c);
}

static int parse_run_dir(struct parsing *p, const char *value, struct complaint *c)
{
	return words_path(value, p->opt->run_dir, sizeof(p->opt->run_dir), c);
}

static int parse_log_level(struct parsing *p, const char *value, struct complaint *c)
{
	if (log_parse_level(value, &p->opt->log_level))
		return complain(c, "\"%.60s\" is none of error, warn, info, debug", value);
	return 0;
}

static int parse_ageing(struct parsing *p, const char *value, struct complaint *c)
{
	return words_number(value, 0, AGEING_MAX, &p->opt->ageing, c);
}

static int parse_help(struct parsing *p, const char *value, struct complaint *c)
{
	(void)p, (void)value, (void)c;
	options_help(stdout);
	return OPTIONS_DONE;
}

static int parse_version(struct parsing *p, const char *value, struct complaint *c)
{
	(void)p, (void)value, (void)c;
	printf("vxsd %s\n", VXS_VERSION);
	return OPTIONS_DONE;
}

static int parse_print_capabilities(struct parsing *p, const char *value, struct complaint *c)
{
	(void)p, (void)value, (void)c;
	options_print_capabilities(stdout);
	return OPTIONS_DONE;
}

static const struct option_row options[] = {
	{"name", "NAME", "name of the switch, and so of its directories (default vxs0)",
	 .parse = parse_name},
	{"uplink", "IF[,key=value...]",
	 "join network interface IF to the switch (AF_XDP; needs root). Keys:",
	 .words = &options_uplink_words, .parse = parse_uplink},
	{"vm", "NAME[,key=value...]", "a port for a VM; give one --vm for each. Keys:",
	 .repeat = true, .words = &options_vm_words, .parse = parse_vm},
	{"host", "share|off",
	 "whether the host, which keeps its address on the uplink, also reaches the VMs through it "
	 "(default share; without --uplink there is nothing to share)",
	 .parse = parse_host},
	{"cpus", "LIST",
	 "one worker thread on each of these CPUs, like 0-3,5 (default: one worker, on any CPU)",
	 .parse = parse_cpus},
	{"poll", "busy|adaptive|interrupt",
	 "always poll; poll while there is work, then sleep; or sleep as soon as there is none "
	 "(default adaptive)",
	 .parse = parse_poll},
	{"idle-us", "N",
	 "with --poll adaptive: microseconds without work before a worker sleeps, 0 to 1000000 "
	 "(default 100)",
	 .parse = parse_idle_us},
	{"run-dir", "DIR", "directory of the sockets (default " VXS_RUN_DIR "/NAME)",
	 .parse = parse_run_dir},
	{"log-level", "error|warn|info|debug", "what to log on stderr (default info)",
	 .parse = parse_log_level},
	{"ageing", "SECONDS",
	 "forget an address from which nothing came for so long; 0: never (default 300)",
	 .parse = parse_ageing},
	{"fd", "N",
	 "for programs that start vxsd for one VM: a port \"" OPTIONS_BACKEND_VM
	 "\" whose socket is "
	 "the open file N, which listens or is connected; in the latter case vxsd ends with the "
	 "connection. Without --name the switch gets a name of its own",
	 .parse = parse_fd},
	{"socket-path", "PATH", "the same with a socket that vxsd makes at PATH",
	 .parse = parse_socket_path},
	{"print-capabilities", NULL,
	 "print what kind of vhost-user back-end this is, as JSON, and exit; whatever other "
	 "options there are",
	 .parse = parse_print_capabilities},
	{"help", NULL, "print this and exit", .parse = parse_help},
	{"version", NULL, "print the version and exit", .parse = parse_version},
	{},
};

void options_help(FILE *to)
{
	const struct option_row *row;

	fprintf(to,
		"usage: vxsd [OPTION]...\n\n"
		"A software switch for virtual machines: vhost-user sockets for VMs, AF_XDP for\n"
		"the wire. It runs in the foreground until SIGTERM or SIGINT; vxsctl talks to "
		"it.\n\n");
	for (row = options; row->name; row++) {
		fprintf(to, "  --%s%s%s\n        ", row->name, row->value ? " " : "",
			row->value ? row->value : "");
		words_wrap(row->help, 8, to);
		if (row->words)
			words_help(row->words, to);
	}
}

/* "--name value: reason"; without a value, or with an empty one, "--name: reason". */
static int blame(struct complaint *c, const struct option_row *row, const char *value,
		 const char *reason)
{
	if (!value)
		value = "";
	return complain(c, "--%s%s%.200s: %s", row->name, *value ? " " : "", value, reason);
}

/* Reads the option at argv[*at], and its value; *at then is the last argument used. */
static int parse_one(struct parsing *p, int argc, char **argv, int *at, uint64_t *seen,
		     struct complaint *c)
{
	char reason[OPTIONS_REASON_SIZE] = "";
	struct complaint why = {reason, sizeof(reason)};
	const char *arg = argv[*at], *value = NULL;
	const struct option_row *row;
	size_t len;
	int err;

	if (strncmp(arg, "--", 2) || !arg[2])
		return complain(c, "\"%.200s\": not an option; see `vxsd --help`", arg);
	len = strcspn(arg + 2, "=");
	for (row = options; row->name; row++)
		if (strlen(row->name) == len && !strncmp(row->name, arg + 2, len))
			break;
	if (!row->name)
		return complain(c, "%.200s: no such option; see `vxsd --help`", arg);
	if (arg[2 + len])
		value = arg + 2 + len + 1;
	else if (row->value && *at + 1 < argc)
		value = argv[++*at];
	if (!row->value && value)
		return blame(c, row, NULL, "takes no value: leave it out");
	if (row->value && (!value || !strncmp(value, "--", 2)))
		return complain(c, "--%s: has no value: write --%s %s", row->name, row->name,
				row->value);
	if (*seen & 1ull << (row - options) && !row->repeat)
		return blame(c, row, value, "the option is given twice: give it once");
	*seen |= 1ull << (row - options);
	err = row->parse(p, value, &why);
	return err == -EINVAL ? blame(c, row, value, reason) : err;
}

/* The path at which a VM's socket will be: never more than 80 + 32 + 6 bytes. */
static void socket_path(const struct options *opt, const struct vm_options *vm, char path[128])
{
	if (vm->socket[0])
		snprintf(path, 128, "%s", vm->socket);
	else
		snprintf(path, 128, "%s/%s.sock", opt->run_dir, vm->name);
}

static int compare_vms(const struct options *opt, const struct vm_options *a,
		       const struct vm_options *b, struct complaint *c)
{
	static const uint8_t none[6];
	char path_a[128], path_b[128], mac[18];

	if (!strcmp(a->name, b->name))
		return complain(c, "--vm %s: another VM has this name: take a different one",
				b->name);
	if (memcmp(b->mac, none, 6) && !memcmp(a->mac, b->mac, 6)) {
		options_format_mac(b->mac, mac);
		return complain(c, "--vm %s,mac=%s: VM \"%s\" has this address: take another",
				b->name, mac, a->name);
	}
	if (a->fd && a->fd == b->fd)
		return complain(c, "--vm %s,fd=%d: VM \"%s\" has this socket: give another",
				b->name, b->fd, a->name);
	if (a->fd || b->fd)
		return 0;
	socket_path(opt, a, path_a);
	socket_path(opt, b, path_b);
	if (!strcmp(path_a, path_b))
		return complain(c, "--vm %s: VM \"%s\" has the socket %s: give socket=PATH",
				b->name, a->name, path_b);
	return 0;
}

static int check_socket(const struct options *opt, const struct vm_options *vm, struct complaint *c)
{
	char path[128], control[128];
	int ret;

	if (vm->fd) {
		ret = options_check_fd(vm->fd);
		return !ret ? 0
			    : complain(c, "--vm %s,fd=%d: %s: start vxsd with a Unix stream socket",
				       vm->name, vm->fd, strerror(-ret));
	}
	socket_path(opt, vm, path);
	if (strlen(path) >= sizeof(vm->socket))
		return complain(c, "--vm %s: %s is too long for a socket: give a shorter --run-dir",
				vm->name, path);
	snprintf(control, sizeof(control), "%s/" VXS_CTL_SOCKET, opt->run_dir);
	if (!strcmp(path, control))
		return complain(c, "--vm %s: %s is the control socket: give another socket=PATH",
				vm->name, path);
	return 0;
}

static int check_vm(const struct options *opt, unsigned i, struct complaint *c)
{
	const struct vm_options *vm = &opt->vm[i];
	unsigned before;
	int err;

	err = check_socket(opt, vm, c);
	if (err)
		return err;
	if (!strcmp(vm->name, opt->uplink.ifname))
		return complain(c, "--vm %s: the uplink has this name: take a different one",
				vm->name);
	for (before = 0; before < i; before++) {
		err = compare_vms(opt, &opt->vm[before], vm, c);
		if (err)
			return err;
	}
	return 0;
}

/* What can only be said when all options are known. */
static int check_all(struct parsing *p, struct complaint *c)
{
	struct options *opt = p->opt;
	unsigned i;
	int err;

	if (p->host_given && opt->host_share && !opt->uplink.ifname[0])
		return complain(c, "--host share: there is no NIC to share: give --uplink IF, or "
				   "leave --host out");
	if (p->idle_us_given && opt->poll != POLL_ADAPTIVE)
		return complain(c,
				"--idle-us %u: with --poll %s it has no meaning: leave it out, or "
				"give --poll adaptive",
				opt->idle_us, opt->poll == POLL_BUSY ? "busy" : "interrupt");
	if (p->backend && !p->name_given)
		options_name_backend(opt, &opt->vm[p->backend_vm]);
	if (!opt->run_dir[0])
		snprintf(opt->run_dir, sizeof(opt->run_dir), VXS_RUN_DIR "/%s", opt->name);
	for (i = 0; i < opt->n_vms; i++) {
		err = check_vm(opt, i, c);
		if (err)
			return err;
	}
	return 0;
}

int options_parse(struct options *opt, int argc, char **argv, char *err, size_t err_len)
{
	struct complaint c = {err, err_len};
	struct parsing p = {.opt = opt};
	uint64_t seen = 0;
	int at, ret;

	*opt = (struct options){
		.name = VXS_NAME_DEFAULT,
		.host_share = true,
		.poll = POLL_ADAPTIVE,
		.idle_us = WORKER_IDLE_US,
		.log_level = LOG_INFO,
		.ageing = AGEING_DEFAULT,
	};
	for (at = 1; at < argc; at++)
		if (!strcmp(argv[at], "--print-capabilities"))
			return parse_print_capabilities(&p, NULL, &c);
	for (at = 1; at < argc; at++) {
		ret = parse_one(&p, argc, argv, &at, &seen, &c);
		if (ret)
			return ret;
	}
	return check_all(&p, &c);
}

void options_free(struct options *opt)
{
	free(opt->vm);
	opt->vm = NULL;
	opt->n_vms = 0;
}
