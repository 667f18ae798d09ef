/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* vxsctl: shows and changes a running switch. Its options and commands are tables. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "control/options.h"
#include "control/words.h"
#include "ctl/client.h"
#include "ctl/print.h"
#include "ctl/qemu.h"
#include "ctl/workers.h"
#include "vxs_ctl.h"

#define EXIT_REFUSED 1
#define EXIT_USAGE   2
#define WORDS_MAX    4 /* of a command, its arguments included */
#define ERR_MAX      700
#define SECONDS_MAX  86400
#define HELP_COLUMN  33 /* where the texts of --help begin */

struct command;

/* The command line. */
struct call {
	struct client client;
	bool json, help, version;
	bool workers;     /* with stats */
	unsigned seconds; /* with that; 0: since the start */
	char memory[16];
	const struct command *command;
	const char *word[WORDS_MAX];
	unsigned n_words;
	char err[ERR_MAX];
};

struct command {
	const char *name;     /* one word or two */
	const char *argument; /* NULL: it takes none; in brackets: it may be left out */
	const char *help;
	const char *what;          /* "do" of the request */
	const char *key;           /* under which the argument is sent */
	const struct words *words; /* of its argument, for --help */
	void (*print)(struct call *call, struct json_object *result);
	struct json_object *(*make)(struct call *call, struct json_object *result);
};

struct option_row {
	const char *name;
	const char *value; /* NULL: it takes none */
	const char *help;
	const char *command; /* NULL: all */
	int (*parse)(struct call *call, const char *value);
};

static int parse_name(struct call *call, const char *value)
{
	static char name[VXS_NAME_SIZE];
	char reason[OPTIONS_REASON_SIZE];
	struct complaint why = {reason, sizeof(reason)}, c = {call->err, sizeof(call->err)};

	if (words_name(value, name, sizeof(name), &why))
		return complain(&c, "--name %.200s: %s", value, reason);
	call->client.name = name;
	return 0;
}

static int parse_run_dir(struct call *call, const char *value)
{
	call->client.run_dir = value;
	return 0;
}

static int parse_json(struct call *call, const char *value)
{
	(void)value;
	call->json = true;
	return 0;
}

static int parse_memory(struct call *call, const char *value)
{
	struct complaint c = {call->err, sizeof(call->err)};

	if (qemu_memory(value, call->memory, sizeof(call->memory)))
		return complain(&c, "--memory %.60s: not a size: write it like 512M or 2G", value);
	return 0;
}

static int parse_workers(struct call *call, const char *value)
{
	(void)value;
	call->workers = true;
	return 0;
}

static int parse_for(struct call *call, const char *value)
{
	char reason[OPTIONS_REASON_SIZE];
	struct complaint why = {reason, sizeof(reason)}, c = {call->err, sizeof(call->err)};

	if (words_number(value, 1, SECONDS_MAX, &call->seconds, &why))
		return complain(&c, "--for %.60s: %s", value, reason);
	return 0;
}

static int parse_help(struct call *call, const char *value)
{
	(void)value;
	call->help = true;
	return 0;
}

static int parse_version(struct call *call, const char *value)
{
	(void)value;
	call->version = true;
	return 0;
}

static const struct option_row options[] = {
	{"--name", "NAME", "the switch to talk to (default " VXS_NAME_DEFAULT ")",
	 .parse = parse_name},
	{"--run-dir", "DIR",
	 "where its sockets are, if vxsd was told (default " VXS_RUN_DIR "/NAME)",
	 .parse = parse_run_dir},
	{"-j", NULL, "print JSON", .parse = parse_json},
	{"--memory", "SIZE", "with qemu: memory of the VM (default 1G)", "qemu",
	 .parse = parse_memory},
	{"--workers", NULL, "with stats: what each worker does, instead of the ports", "stats",
	 .parse = parse_workers},
	{"--for", "SECONDS", "with stats --workers: what it does in that time, from now on",
	 "stats", .parse = parse_for},
	{"--help", NULL, "print this, or with a command what it does, and exit",
	 .parse = parse_help},
	{"--version", NULL, "print the version and exit", .parse = parse_version},
	{},
};

static void show_status(struct call *call, struct json_object *result)
{
	(void)call;
	print_status(result);
}

static void show_ports(struct call *call, struct json_object *result)
{
	if (call->n_words)
		print_port(json_object_array_get_idx(result, 0));
	else
		print_ports(result);
}

static void show_added(struct call *call, struct json_object *result)
{
	(void)call;
	printf("port \"%s\" added: its socket is %s\n", get_text(result, "name"),
	       get_text(result, "socket"));
	if (get_text(result, "warning"))
		printf("%s\n", get_text(result, "warning"));
}

static void show_deleted(struct call *call, struct json_object *result)
{
	(void)call;
	printf("port \"%s\" deleted\n", get_text(result, "name"));
}

static void show_fdb(struct call *call, struct json_object *result)
{
	(void)call;
	print_fdb(result);
}

static void show_stats(struct call *call, struct json_object *result)
{
	(void)call;
	print_stats(result);
}

static void show_workers(struct call *call, struct json_object *result)
{
	(void)call;
	workers_print(result);
}

static int ask(struct call *call, struct json_object **result);

/* With --for the answer is the difference between this one and the next. */
static struct json_object *make_workers(struct call *call, struct json_object *before)
{
	struct complaint c = {call->err, sizeof(call->err)};
	struct timespec t = {.tv_sec = call->seconds};
	struct json_object *now;

	if (!call->seconds)
		return json_object_get(before);
	while (nanosleep(&t, &t) && errno == EINTR)
		;
	if (ask(call, &now))
		return NULL;
	if (workers_subtract(now, before))
		return now;
	json_object_put(now);
	complain(&c, "switch \"%s\" was started again meanwhile: try again", call->client.name);
	return NULL;
}

static struct json_object *make_qemu(struct call *call, struct json_object *result)
{
	struct json_object *port = json_object_array_get_idx(result, 0);
	struct complaint c = {call->err, sizeof(call->err)};
	const char *kind = get_text(port, "kind");

	if (!kind || strcmp(kind, "vm")) {
		complain(&c, "%.60s: not a VM's port but the %s: see `vxsctl port show`",
			 call->word[0], kind ? kind : "?");
		return NULL;
	}
	if (text_of(port, "socket")[0] != '/') {
		complain(&c,
			 "%.60s: its socket has no path (%s): whoever gave it to vxsd knows the "
			 "other end",
			 call->word[0], text_of(port, "socket"));
		return NULL;
	}
	return qemu_arguments(port, call->client.name, call->memory);
}

static void show_qemu(struct call *call, struct json_object *result)
{
	(void)call;
	qemu_print(result);
}

static const struct command commands[] = {
	{"status", NULL, "the switch as a whole, and its workers", "status", .print = show_status},
	{"port show", "[PORT]", "all ports, or one with its queues, and why no traffic passes",
	 "ports", "port", .print = show_ports},
	{"port add", "NAME[,key=value...]",
	 "add a port for a VM while traffic runs; keys as in --vm:", "port_add", "vm",
	 &options_vm_words, .print = show_added},
	{"port del", "PORT", "delete a VM's port; its front-end loses the connection", "port_del",
	 "port", .print = show_deleted},
	{"fdb show", NULL, "which addresses are behind which ports", "fdb", .print = show_fdb},
	{"stats", "[PORT]",
	 "frames and bytes in and out of each port, and what was dropped and why", "stats", "port",
	 .print = show_stats},
	{"qemu", "PORT", "the QEMU arguments that attach a VM to a port", "ports", "port",
	 .print = show_qemu, .make = make_qemu},
	{.name = "help", .help = "print this and exit"},
	{},
};

/* What --workers makes of "stats". */
static const struct command stats_workers = {"stats --workers", .what = "workers",
					     .print = show_workers, .make = make_workers};

static void print_options(const char *command)
{
	const struct option_row *o;
	char left[32];

	for (o = options; o->name; o++) {
		if (command && (!o->command || strcmp(o->command, command)))
			continue;
		snprintf(left, sizeof(left), "%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		printf("  %-30s ", left);
		words_wrap(o->help, HELP_COLUMN, stdout);
	}
}

static void print_help(const struct command *only)
{
	const struct command *cmd;
	char left[64];

	if (only) {
		printf("usage: vxsctl [OPTION]... %s%s%s\n\n", only->name,
		       only->argument ? " " : "", only->argument ? only->argument : "");
		words_wrap(only->help, 0, stdout);
		if (only->words)
			words_help(only->words, stdout);
		print_options(only->name);
		return;
	}
	printf("usage: vxsctl [OPTION]... COMMAND [ARGUMENT]\n\n"
	       "Shows and changes a switch that vxsd runs.\n\noptions:\n");
	print_options(NULL);
	printf("\ncommands:\n");
	for (cmd = commands; cmd->name; cmd++) {
		snprintf(left, sizeof(left), "%s%s%s", cmd->name, cmd->argument ? " " : "",
			 cmd->argument ? cmd->argument : "");
		printf("  %-30s ", left);
		words_wrap(cmd->help, HELP_COLUMN, stdout);
		if (cmd->words)
			words_help(cmd->words, stdout);
	}
}

/* Reads the option at argv[*at], and its value. 0 or -EINVAL. */
static int parse_option(struct call *call, int argc, char **argv, int *at)
{
	struct complaint c = {call->err, sizeof(call->err)};
	const char *arg = argv[*at], *value = NULL;
	size_t len = strcspn(arg, "=");
	const struct option_row *o;

	for (o = options; o->name; o++)
		if (strlen(o->name) == len && !strncmp(o->name, arg, len))
			break;
	if (!o->name)
		return complain(&c, "%.200s: no such option; see `vxsctl --help`", arg);
	if (arg[len])
		value = arg + len + 1;
	if (value && !o->value)
		return complain(&c, "%s: takes no value: leave it out", o->name);
	if (!value && o->value && *at + 1 < argc)
		value = argv[++*at];
	if (o->value && (!value || !*value))
		return complain(&c, "%s: has no value: write %s %s", o->name, o->name, o->value);
	return o->parse(call, value);
}

/* Whether the words begin with a command's name; how many words that name has. */
static unsigned match(const struct command *cmd, const struct call *call)
{
	size_t len = strcspn(cmd->name, " ");

	if (!call->n_words || strlen(call->word[0]) != len ||
	    strncmp(call->word[0], cmd->name, len))
		return 0;
	if (!cmd->name[len])
		return 1;
	return call->n_words > 1 && !strcmp(call->word[1], cmd->name + len + 1) ? 2 : 0;
}

/* Finds the command, and leaves its arguments in call->word[]. */
static int find_command(struct call *call)
{
	struct complaint c = {call->err, sizeof(call->err)};
	const struct command *cmd;
	unsigned taken = 0, least;

	if (!call->n_words)
		return complain(&c, "no command; see `vxsctl --help`");
	for (cmd = commands; cmd->name; cmd++) {
		taken = match(cmd, call);
		if (taken)
			break;
	}
	if (!taken)
		return complain(&c, "%.60s%s%.60s: no such command; see `vxsctl --help`",
				call->word[0], call->n_words > 1 ? " " : "",
				call->n_words > 1 ? call->word[1] : "");
	call->command = cmd;
	call->n_words -= taken;
	memmove(call->word, call->word + taken, call->n_words * sizeof(call->word[0]));
	if (call->help)
		return 0;
	if (call->workers && !strcmp(cmd->name, "stats"))
		call->command = cmd = &stats_workers;
	least = cmd->argument && cmd->argument[0] != '[';
	if (call->n_words < least)
		return complain(&c, "%s: %s is missing; see `vxsctl %s --help`", cmd->name,
				cmd->argument, cmd->name);
	if (call->n_words > !!cmd->argument)
		return complain(&c, "%s: \"%.60s\" is too much; see `vxsctl %s --help`", cmd->name,
				call->word[!!cmd->argument], cmd->name);
	return 0;
}

static int refuse_option(struct call *call, const char *option)
{
	struct complaint c = {call->err, sizeof(call->err)};

	return complain(&c, "%s: %s does not take it: leave it out", option, call->command->name);
}

static int parse(struct call *call, int argc, char **argv)
{
	struct complaint c = {call->err, sizeof(call->err)};
	int i, err;

	for (i = 1; i < argc; i++) {
		if (argv[i][0] == '-') {
			err = parse_option(call, argc, argv, &i);
			if (err)
				return err;
		} else if (call->n_words == WORDS_MAX) {
			return complain(&c, "\"%.60s\" is too much; see `vxsctl --help`", argv[i]);
		} else {
			call->word[call->n_words++] = argv[i];
		}
	}
	if ((call->help && !call->n_words) || call->version)
		return 0;
	err = find_command(call);
	if (err)
		return err;
	if (call->memory[0] && strcmp(call->command->name, "qemu"))
		return refuse_option(call, "--memory");
	if (call->workers && call->command != &stats_workers)
		return refuse_option(call, "--workers");
	if (call->seconds && call->command != &stats_workers)
		return complain(&c, "--for: goes with stats --workers alone: leave it out, or add "
				    "--workers");
	if (!call->memory[0])
		snprintf(call->memory, sizeof(call->memory), "1G");
	return 0;
}

static void print_result(struct call *call, struct json_object *result)
{
	if (call->json)
		printf("%s\n", json_object_to_json_string_ext(
				       result, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		call->command->print(call, result);
}

/* Sends the command's request. 0, or -1 with call->err. */
static int ask(struct call *call, struct json_object **result)
{
	struct json_object *request = json_object_new_object();
	const struct command *cmd = call->command;
	int err;

	if (!request)
		return -1;
	json_object_object_add(request, "do", json_object_new_string(cmd->what));
	if (call->n_words)
		json_object_object_add(request, cmd->key, json_object_new_string(call->word[0]));
	err = client_ask(&call->client, request, result, call->err, sizeof(call->err));
	json_object_put(request);
	return err;
}

/* Asks the daemon and shows what it says. 0, or -1 with call->err. */
static int run(struct call *call)
{
	const struct command *cmd = call->command;
	struct json_object *result = NULL, *made;
	int err = ask(call, &result);

	if (!err && cmd->make) {
		made = cmd->make(call, result);
		json_object_put(result);
		result = made;
		err = made ? 0 : -1;
	}
	if (!err)
		print_result(call, result);
	json_object_put(result);
	return err;
}

int main(int argc, char **argv)
{
	static struct call call = {.client.name = VXS_NAME_DEFAULT};

	if (parse(&call, argc, argv)) {
		fprintf(stderr, "vxsctl: %s\n", call.err);
		return EXIT_USAGE;
	}
	if (call.version) {
		printf("vxsctl %s\n", VXS_VERSION);
		return 0;
	}
	if (call.help || !call.command->what) {
		print_help(call.command && call.command->what ? call.command : NULL);
		return 0;
	}
	if (run(&call)) {
		fprintf(stderr, "vxsctl: %s\n", call.err[0] ? call.err : "out of memory");
		return EXIT_REFUSED;
	}
	return fflush(stdout) ? EXIT_REFUSED : 0;
}
