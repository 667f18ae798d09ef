/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The command line, and the words of `vxsctl port add`: one argument a line. */
#include "control/options.h"
#include "fuzz/fuzz.h"

#define WORDS_MAX 64

static void check_error(int ret, const char *err)
{
	if (ret < 0)
		FUZZ_CHECK(err[0] && !strchr(err, '\n')); /* one line that says something */
}

static void check_vm(const struct vm_options *vm)
{
	FUZZ_CHECK(vm->name[0] && memchr(vm->name, 0, sizeof(vm->name)));
	FUZZ_CHECK(memchr(vm->socket, 0, sizeof(vm->socket)));
	FUZZ_CHECK(vm->queues >= 1 && vm->queues <= PORT_QUEUES_MAX);
	FUZZ_CHECK(!(vm->mac[0] & 1));
}

static void try_words(const char *text)
{
	struct vm_options vm;
	uint8_t mac[6];
	char err[256] = "", again[18];
	int ret;

	ret = options_parse_vm(&vm, text, err, sizeof(err));
	check_error(ret, err);
	if (!ret)
		check_vm(&vm);
	if (!options_parse_mac(text, mac)) {
		options_format_mac(mac, again);
		FUZZ_CHECK(!strcasecmp(text, again));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[WORDS_MAX + 2] = {"vxsd"}, *text, *save, err[256] = "";
	struct options opt;
	int argc = 1, ret;
	unsigned i;

	if (!freopen("/dev/null", "w", stdout)) /* --help */
		return 0;
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (argv[argc] = strtok_r(text, "\n", &save); argc < WORDS_MAX && argv[argc];
	     argv[argc] = strtok_r(NULL, "\n", &save)) {
		try_words(argv[argc]);
		argc++;
	}
	argv[argc] = NULL;
	ret = options_parse(&opt, argc, argv, err, sizeof(err));
	FUZZ_CHECK(ret == 0 || ret == OPTIONS_DONE || ret < 0);
	check_error(ret, err);
	for (i = 0; ret == 0 && i < opt.n_vms; i++)
		check_vm(&opt.vm[i]);
	FUZZ_CHECK(ret || (opt.name[0] && opt.run_dir[0] && opt.n_cpus <= OPTIONS_CPUS_MAX));
	options_free(&opt);
	free(text);
	return 0;
}
