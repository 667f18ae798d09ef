/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line: what it accepts, what it refuses, and in which words. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/options.h"
#include "control/words.h"

#define ARGS_MAX 1100

/* Reads a command line of words separated by spaces; options_free() is the caller's. */
static int parse(struct options *opt, const char *line, char *err, size_t err_len)
{
	char *argv[ARGS_MAX] = {"vxsd"}, *copy = strdup(line), *rest = copy, *word;
	int argc = 1, ret;

	while ((word = strsep(&rest, " ")) && argc < ARGS_MAX - 1)
		if (*word)
			argv[argc++] = word;
	ret = options_parse(opt, argc, argv, err, err_len);
	free(copy);
	return ret;
}

struct refusal {
	const char *line, *err;
};

static void expect_refusals(const struct refusal *r)
{
	struct options opt;
	char err[512];

	for (; r->line; r++) {
		err[0] = '\0';
		CU_ASSERT_EQUAL(parse(&opt, r->line, err, sizeof(err)), -EINVAL);
		if (strcmp(err, r->err))
			printf("     vxsd %s\n     says %s\n     not  %s\n", r->line, err, r->err);
		CU_ASSERT_STRING_EQUAL(err, r->err);
		options_free(&opt);
	}
}

static void test_defaults(void)
{
	struct options opt;
	char err[512];

	CU_ASSERT_EQUAL(parse(&opt, "", err, sizeof(err)), 0);
	CU_ASSERT_STRING_EQUAL(opt.name, "vxs0");
	CU_ASSERT_STRING_EQUAL(opt.run_dir, "/run/vxs/vxs0");
	CU_ASSERT_STRING_EQUAL(opt.uplink.ifname, "");
	CU_ASSERT_FALSE(opt.uplink.busy_poll);
	CU_ASSERT_FALSE(opt.uplink.no_gro);
	CU_ASSERT_TRUE(opt.host_share);
	CU_ASSERT_EQUAL(opt.n_vms, 0);
	CU_ASSERT_EQUAL(opt.n_cpus, 0);
	CU_ASSERT_EQUAL(opt.poll, POLL_ADAPTIVE);
	CU_ASSERT_EQUAL(opt.idle_us, 100);
	CU_ASSERT_EQUAL(opt.log_level, LOG_INFO);
	CU_ASSERT_EQUAL(opt.ageing, 300);
	options_free(&opt);
	options_free(&opt); /* twice does no harm */
}

static void test_everything(void)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0xAB, 0x56};
	struct options opt;
	char err[512] = "";

	CU_ASSERT_EQUAL(
		parse(&opt,
		      "--name t --uplink eth9,mode=copy,queues=2,busy-poll=on,gro=off "
		      "--host off --cpus 0 "
		      "--poll busy --run-dir /tmp/x/ --log-level debug --ageing 0 "
		      "--vm a,mac=52:54:00:12:aB:56,queues=128,offloads=csum,mtu=68 "
		      "--vm=b,socket=/tmp/b,offloads=none,mtu=65535,ring-reset=off,postcopy=on "
		      "--vm c,offloads=all,role=client,socket=/tmp/c",
		      err, sizeof(err)),
		0);
	CU_ASSERT_STRING_EQUAL(err, "");
	CU_ASSERT_STRING_EQUAL(opt.name, "t");
	CU_ASSERT_STRING_EQUAL(opt.uplink.ifname, "eth9");
	CU_ASSERT_EQUAL(opt.uplink.mode, UPLINK_COPY);
	CU_ASSERT_EQUAL(opt.uplink.queues, 2);
	CU_ASSERT_TRUE(opt.uplink.busy_poll);
	CU_ASSERT_TRUE(opt.uplink.no_gro);
	CU_ASSERT_FALSE(opt.host_share);
	CU_ASSERT_EQUAL(opt.n_cpus, 1);
	CU_ASSERT_EQUAL(opt.cpu[0], 0);
	CU_ASSERT_EQUAL(opt.poll, POLL_BUSY);
	CU_ASSERT_STRING_EQUAL(opt.run_dir, "/tmp/x");
	CU_ASSERT_EQUAL(opt.log_level, LOG_DEBUG);
	CU_ASSERT_EQUAL(opt.ageing, 0);
	CU_ASSERT_EQUAL_FATAL(opt.n_vms, 3);
	CU_ASSERT_STRING_EQUAL(opt.vm[0].name, "a");
	CU_ASSERT_EQUAL(memcmp(opt.vm[0].mac, mac, 6), 0);
	CU_ASSERT_EQUAL(opt.vm[0].queues, 128);
	CU_ASSERT_STRING_EQUAL(opt.vm[0].socket, "");
	CU_ASSERT_STRING_EQUAL(opt.vm[1].name, "b");
	CU_ASSERT_STRING_EQUAL(opt.vm[1].socket, "/tmp/b");
	CU_ASSERT_EQUAL(opt.vm[1].queues, 1);
	CU_ASSERT_EQUAL(opt.vm[0].offloads, VM_OFFLOADS_CSUM);
	CU_ASSERT_EQUAL(opt.vm[1].offloads, VM_OFFLOADS_NONE);
	CU_ASSERT_EQUAL(opt.vm[2].offloads, VM_OFFLOADS_ALL);
	CU_ASSERT_EQUAL(opt.vm[0].ring_reset, VM_RING_RESET_AUTO);
	CU_ASSERT_EQUAL(opt.vm[1].ring_reset, VM_RING_RESET_OFF);
	CU_ASSERT_FALSE(opt.vm[0].postcopy);
	CU_ASSERT_TRUE(opt.vm[1].postcopy);
	CU_ASSERT_EQUAL(opt.vm[1].role, VM_SERVER);
	CU_ASSERT_EQUAL(opt.vm[2].role, VM_CLIENT);
	CU_ASSERT_EQUAL(opt.vm[0].mtu, 68);
	CU_ASSERT_EQUAL(opt.vm[1].mtu, 65535);
	CU_ASSERT_EQUAL(opt.vm[2].mtu, 0);
	options_free(&opt);
}

static void test_words(void)
{
	static const struct refusal refusals[] = {
		{"--vm a,colour=red", "--vm a,colour=red: unknown key \"colour\"; keys are mac, "
				      "socket, role, fd, queues, "
				      "offloads, mtu, ring-reset, postcopy"},
		{"--vm a,mac=zz",
		 "--vm a,mac=zz: \"zz\" is not a MAC address (six bytes like 52:54:00:12:34:56)"},
		{"--vm a,mac=52:54:00:12:34:5",
		 "--vm a,mac=52:54:00:12:34:5: \"52:54:00:12:34:5\" is not a MAC address "
		 "(six bytes like 52:54:00:12:34:56)"},
		{"--vm a,mac=01:54:00:12:34:56",
		 "--vm a,mac=01:54:00:12:34:56: 01:54:00:12:34:56 is a multicast address: give a "
		 "VM's own address (six bytes like 52:54:00:12:34:56)"},
		{"--vm a,mac=00:00:00:00:00:00",
		 "--vm a,mac=00:00:00:00:00:00: 00:00:00:00:00:00 is no station's address: give "
		 "a VM's own address (six bytes like 52:54:00:12:34:56)"},
		{"--vm a,queues=0", "--vm a,queues=0: \"0\" is not a number from 1 to 128"},
		{"--vm a,queues=129", "--vm a,queues=129: \"129\" is not a number from 1 to 128"},
		{"--vm a,queues=1x", "--vm a,queues=1x: \"1x\" is not a number from 1 to 128"},
		{"--vm a,queues=-1", "--vm a,queues=-1: \"-1\" is not a number from 1 to 128"},
		{"--vm a,queues=99999999999999999999",
		 "--vm a,queues=99999999999999999999: \"99999999999999999999\" is not a number "
		 "from 1 to 128"},
		{"--vm a,role=both", "--vm a,role=both: \"both\" is none of server, client"},
		{"--vm a,role=client", "--vm a,role=client: role=client needs to know where the "
				       "front-end listens: give socket=PATH"},
		{"--vm a,fd=2", "--vm a,fd=2: \"2\" is not a number from 3 to 1000000"},
		{"--vm a,fd=9,socket=/x",
		 "--vm a,fd=9,socket=/x: fd= is the socket itself: leave socket= out"},
		{"--vm a,fd=9,role=client",
		 "--vm a,fd=9,role=client: fd= says by itself who called whom: leave role= out"},
		{"--vm a,offloads=tso", "--vm a,offloads=tso: \"tso\" is none of all, csum, none"},
		{"--vm a,postcopy=yes", "--vm a,postcopy=yes: \"yes\" is none of off, on"},
		{"--vm a,ring-reset=yes",
		 "--vm a,ring-reset=yes: \"yes\" is none of auto, on, off"},
		{"--vm a,offloads", "--vm a,offloads: key \"offloads\" has no value: write "
				    "offloads=none|csum|all"},
		{"--vm a,mtu=67", "--vm a,mtu=67: \"67\" is not a number from 68 to 65535"},
		{"--vm a,mtu=65536",
		 "--vm a,mtu=65536: \"65536\" is not a number from 68 to 65535"},
		{"--vm a,mtu=9k", "--vm a,mtu=9k: \"9k\" is not a number from 68 to 65535"},
		{"--vm a,mtu=1500,mtu=9000",
		 "--vm a,mtu=1500,mtu=9000: key \"mtu\" is given twice: give it once"},
		{"--vm a,queues", "--vm a,queues: key \"queues\" has no value: write queues=N"},
		{"--vm a,queues=1,queues=1",
		 "--vm a,queues=1,queues=1: key \"queues\" is given twice: give it once"},
		{"--vm a,,queues=1",
		 "--vm a,,queues=1: a key is missing: write NAME[,key=value...]"},
		{"--vm a,=1", "--vm a,=1: a key is missing: write NAME[,key=value...]"},
		{"--vm ,queues=1", "--vm ,queues=1: the name is empty: give one"},
		{"--vm ctl", "--vm ctl: vxsd itself uses the name \"ctl\": take another"},
		{"--vm a/b", "--vm a/b: \"a/b\" is not a name: take letters, digits, '.', '_' "
			     "and '-'"},
		{"--vm .a", "--vm .a: \".a\" is not a name: begin it with a letter or a digit"},
		{"--vm a2345678901234567890123456789012",
		 "--vm a2345678901234567890123456789012: name \"a2345678901234567890123456789012\""
		 " is too long: take 31 characters at most"},
		{"--vm a\nb\033[2J", "--vm a?b?[2J: \"a?b?[2J\" is not a name: take letters, "
				     "digits, '.', '_' and '-'"},
		{"--uplink a/b",
		 "--uplink a/b: \"a/b\" is not the name of an interface: see `ip link`"},
		{"--uplink a234567890123456", "--uplink a234567890123456: \"a234567890123456\" is "
					      "too long for an interface: see `ip link`"},
		{"--uplink e,mode=fast",
		 "--uplink e,mode=fast: \"fast\" is none of auto, zc, copy, skb"},
		{"--uplink e,queues=65",
		 "--uplink e,queues=65: \"65\" is not a number from 1 to 64"},
		{"--uplink e,busy-poll=64", "--uplink e,busy-poll=64: \"64\" is none of off, on"},
		{"--uplink e,gro=yes", "--uplink e,gro=yes: \"yes\" is none of off, on"},
		{"--uplink e,gro=", "--uplink e,gro=: key \"gro\" has no value: write gro=on|off"},
		{"--uplink e,x=1",
		 "--uplink e,x=1: unknown key \"x\"; keys are mode, queues, busy-poll, gro"},
		{},
	};

	expect_refusals(refusals);
}

static void test_options(void)
{
	static const struct refusal refusals[] = {
		{"vm", "\"vm\": not an option; see `vxsd --help`"},
		{"-v", "\"-v\": not an option; see `vxsd --help`"},
		{"--", "\"--\": not an option; see `vxsd --help`"},
		{"--vms a", "--vms: no such option; see `vxsd --help`"},
		{"--v a", "--v: no such option; see `vxsd --help`"},
		{"--vm", "--vm: has no value: write --vm NAME[,key=value...]"},
		{"--name --vm a", "--name: has no value: write --name NAME"},
		{"--help=me", "--help: takes no value: leave it out"},
		{"--name a --name a", "--name a: the option is given twice: give it once"},
		{"--uplink a --uplink b", "--uplink b: the option is given twice: give it once"},
		{"--name a/b", "--name a/b: \"a/b\" is not a name: take letters, digits, '.', '_' "
			       "and '-'"},
		{"--name ..", "--name ..: \"..\" is not a name: begin it with a letter or a digit"},
		{"--host maybe", "--host maybe: \"maybe\" is none of off, share"},
		{"--host share", "--host share: there is no NIC to share: give --uplink IF, or "
				 "leave --host out"},
		{"--poll never", "--poll never: \"never\" is none of adaptive, busy, interrupt"},
		{"--idle-us=", "--idle-us: \"\" is not a number from 0 to 1000000"},
		{"--idle-us -1", "--idle-us -1: \"-1\" is not a number from 0 to 1000000"},
		{"--idle-us 1000001",
		 "--idle-us 1000001: \"1000001\" is not a number from 0 to 1000000"},
		{"--idle-us 50 --poll busy",
		 "--idle-us 50: with --poll busy it has no meaning: leave it out, or give --poll "
		 "adaptive"},
		{"--poll interrupt --idle-us 0",
		 "--idle-us 0: with --poll interrupt it has no meaning: leave it out, or give "
		 "--poll adaptive"},
		{"--log-level all", "--log-level all: \"all\" is none of error, warn, info, debug"},
		{"--ageing x", "--ageing x: \"x\" is not a number from 0 to 1000000"},
		{"--cpus 0,0", "--cpus 0,0: CPU 0 is named twice: name it once"},
		{"--cpus 0,", "--cpus 0,: this is not a list of CPUs: write it like 0-3,5"},
		{"--cpus 1-0", "--cpus 1-0: this is not a list of CPUs: write it like 0-3,5"},
		{"--cpus 0-", "--cpus 0-: this is not a list of CPUs: write it like 0-3,5"},
		{"--cpus 0x", "--cpus 0x: this is not a list of CPUs: write it like 0-3,5"},
		{"--cpus 123456", "--cpus 123456: this is not a list of CPUs: write it like 0-3,5"},
		{},
	};

	expect_refusals(refusals);
}

static void test_together(void)
{
	static const struct refusal refusals[] = {
		{"--vm a --vm a", "--vm a: another VM has this name: take a different one"},
		{"--vm a,mac=02:00:00:00:00:01 --vm b --vm c,mac=02:00:00:00:00:01",
		 "--vm c,mac=02:00:00:00:00:01: VM \"a\" has this address: take another"},
		{"--vm a,socket=/x --vm b,socket=/x",
		 "--vm b: VM \"a\" has the socket /x: give socket=PATH"},
		{"--vm a --vm b,socket=/r/a.sock --run-dir /r",
		 "--vm b: VM \"a\" has the socket /r/a.sock: give socket=PATH"},
		{"--run-dir /r --vm a,socket=/r/ctl.sock",
		 "--vm a: /r/ctl.sock is the control socket: give another socket=PATH"},
		{"--vm eth9 --uplink eth9",
		 "--vm eth9: the uplink has this name: take a different one"},
		{},
	};
	struct options opt;
	char err[512];

	expect_refusals(refusals);
	/* explicitly shared with an uplink; any number of VMs without a fixed address */
	CU_ASSERT_EQUAL(parse(&opt, "--host share --vm a --vm b --uplink e0", err, sizeof(err)), 0);
	options_free(&opt);
	/* what is the default may be said */
	CU_ASSERT_EQUAL(parse(&opt, "--idle-us 1000000 --poll adaptive", err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(opt.idle_us, 1000000);
	options_free(&opt);
	CU_ASSERT_EQUAL(parse(&opt, "--idle-us 0", err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(opt.idle_us, 0);
	options_free(&opt);
}

static void test_paths(void)
{
	char line[512], err[512], dir[200], here[200];
	struct options opt;

	memset(dir, 'd', sizeof(dir));
	dir[0] = '/';
	snprintf(line, sizeof(line), "--run-dir %.79s", dir);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(strlen(opt.run_dir), 79);
	options_free(&opt);
	snprintf(line, sizeof(line), "--run-dir %.80s", dir);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "the path is too long with 80 bytes: take 79 at most"));
	options_free(&opt);

	snprintf(line, sizeof(line), "--vm a,socket=%.107s", dir);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), 0);
	options_free(&opt);
	snprintf(line, sizeof(line), "--vm a,socket=%.108s", dir);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "the path is too long with 108 bytes"));
	options_free(&opt);

	/* A run directory and a name that fit, each, but not together. */
	snprintf(line, sizeof(line), "--run-dir %.79s --vm %.31s", dir, dir + 1);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "too long for a socket: give a shorter --run-dir"));
	options_free(&opt);

	CU_ASSERT_PTR_NOT_NULL(getcwd(here, sizeof(here)));
	CU_ASSERT_EQUAL(chdir("/tmp"), 0);
	CU_ASSERT_EQUAL(parse(&opt, "--run-dir run --vm a,socket=a.s", err, sizeof(err)), 0);
	CU_ASSERT_STRING_EQUAL(opt.run_dir, "/tmp/run");
	CU_ASSERT_STRING_EQUAL(opt.vm[0].socket, "/tmp/a.s");
	options_free(&opt);
	CU_ASSERT_EQUAL(chdir(here), 0);
}

static void test_cpus(void)
{
	long present = sysconf(_SC_NPROCESSORS_CONF);
	char line[64], err[512], expected[192];
	struct options opt;

	snprintf(line, sizeof(line), "--cpus 0-%ld", present);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), -EINVAL);
	if (present < OPTIONS_CPUS_MAX) {
		snprintf(expected, sizeof(expected),
			 "%s: there is no CPU %ld: this machine has 0 to %ld", line, present,
			 present - 1);
		CU_ASSERT_STRING_EQUAL(err, expected);
	}
	options_free(&opt);
	if (present < 2 || present > OPTIONS_CPUS_MAX) {
		check_skip("needs 2 to 64 CPUs");
		return;
	}
	snprintf(line, sizeof(line), "--cpus 1-%ld,0", present - 1);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(opt.n_cpus, present);
	CU_ASSERT_EQUAL(opt.cpu[0], 1);
	CU_ASSERT_EQUAL(opt.cpu[present - 1], 0);
	options_free(&opt);
}

static void test_most_vms(void)
{
	char line[16 * (OPTIONS_VMS_MAX + 1)], err[512];
	struct options opt;
	size_t used = 0;
	unsigned i;

	for (i = 0; i < OPTIONS_VMS_MAX; i++)
		used += snprintf(line + used, sizeof(line) - used, "--vm v%u ", i);
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), 0);
	CU_ASSERT_EQUAL(opt.n_vms, OPTIONS_VMS_MAX);
	options_free(&opt);
	snprintf(line + used, sizeof(line) - used, "--vm x");
	CU_ASSERT_EQUAL(parse(&opt, line, err, sizeof(err)), -EINVAL);
	CU_ASSERT_STRING_EQUAL(
		err, "--vm x: a switch has room for 510 VMs: start a second one (--name)");
	options_free(&opt);
}

static void test_port_add(void)
{
	struct vm_options vm = {.queues = 77};
	char err[64];

	CU_ASSERT_EQUAL(options_parse_vm(&vm, "a,queues=4", err, sizeof(err)), 0);
	CU_ASSERT_STRING_EQUAL(vm.name, "a");
	CU_ASSERT_EQUAL(vm.queues, 4);
	CU_ASSERT_EQUAL(options_parse_vm(&vm, "b,queues=x", err, sizeof(err)), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err, "b,queues=x: \"x\" is not a number from 1 to 128");
	CU_ASSERT_STRING_EQUAL(vm.name, "a"); /* untouched on failure */
	CU_ASSERT_EQUAL(options_parse_vm(&vm, "b,role=client", err, sizeof(err)), -EINVAL);
	CU_ASSERT_EQUAL(options_parse_vm(&vm, "b,fd=5", err, sizeof(err)), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err, "b,fd=5: fd= is for vxsd's own command line: give socket=PATH");
	/* a line that is too long for the buffer is cut, not overrun */
	CU_ASSERT_EQUAL(options_parse_vm(&vm, "b,colour=very-very-very-red", err, 10), -EINVAL);
	CU_ASSERT_EQUAL(strlen(err), 9);
}

static void test_mac(void)
{
	static const char *const bad[] = {"",
					  ":",
					  "52:54:00:12:34",
					  "52:54:00:12:34:56:",
					  "52:54:00:12:34:56:78",
					  "52-54-00-12-34-56",
					  "5254.0012.3456",
					  "0x:54:00:12:34:56",
					  " 2:54:00:12:34:56",
					  "52:54:00:12:34:+6",
					  "ff:ff:ff:ff:ff:ff",
					  "00:00:00:00:00:00",
					  NULL};
	uint8_t mac[6] = {1, 2, 3, 4, 5, 6};
	char text[18];
	int i;

	for (i = 0; bad[i]; i++)
		CU_ASSERT_EQUAL(options_parse_mac(bad[i], mac), -EINVAL);
	options_format_mac(mac, text);
	CU_ASSERT_STRING_EQUAL(text, "01:02:03:04:05:06"); /* untouched */
	CU_ASSERT_EQUAL(options_parse_mac("FE:dc:ba:98:76:50", mac), 0);
	options_format_mac(mac, text);
	CU_ASSERT_STRING_EQUAL(text, "fe:dc:ba:98:76:50");
}

static void test_help(void)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	static const char *const wanted[] = {"--name NAME",
					     "--uplink IF[,",
					     "--vm NAME[,",
					     "mac=MAC",
					     "socket=PATH",
					     "queues=N",
					     "offloads=none|csum|all",
					     "mtu=N",
					     "gro=on|off",
					     "--host",
					     "--cpus",
					     "--poll",
					     "--run-dir",
					     "--idle-us N",
					     "--log-level",
					     "--ageing",
					     "--help",
					     "--version",
					     NULL};
	int i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	options_help(to);
	fclose(to);
	for (i = 0; wanted[i]; i++)
		CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted[i]));
	free(text);
}

static const struct check tests[] = {
	{"defaults", test_defaults}, {"everything", test_everything},
	{"words", test_words},       {"options", test_options},
	{"together", test_together}, {"paths", test_paths},
	{"cpus", test_cpus},         {"most_vms", test_most_vms},
	{"port_add", test_port_add}, {"mac", test_mac},
	{"help", test_help},         {},
};

int main(int argc, char **argv)
{
	return check_main("options", tests, argc, argv);
}
