/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The workers' account of themselves as tables: shares of time, rates, costs by path. */
#include "ctl/workers.h"

#include <inttypes.h>
#include <string.h>

#include "ctl/columns.h"
#include "ctl/print.h"
#include "vxs_path.h"

/* What isn't counted and so has no difference. */
static bool is_constant(const char *key)
{
	return !strcmp(key, "id") || !strcmp(key, "cpu") || !strcmp(key, "cycles_per_second") ||
	       !strcmp(key, "started");
}

/*
 * Each counter of @now, in objects within as well, less what it was @before. Time asleep is what
 * the daemon has left of all time, so a busy worker's may be some microseconds less than before.
 */
static void subtract(struct json_object *now, struct json_object *before)
{
	int64_t n;

	json_object_object_foreach(now, key, value)
	{
		if (json_object_is_type(value, json_type_object)) {
			subtract(value, get(before, key));
		} else if (json_object_is_type(value, json_type_int) && !is_constant(key)) {
			n = json_object_get_int64(value) - get_int(before, key);
			json_object_set_int64(value, n > 0 ? n : 0);
		}
	}
}

/* A sleep counts when it begins: the one that @before fell into must not be woken up from here. */
static void limit_wakeups(struct json_object *worker)
{
	int64_t sleeps = get_int(worker, "sleeps");

	if (get_int(worker, "wakeups") > sleeps)
		json_object_set_int64(get(worker, "wakeups"), sleeps);
}

bool workers_subtract(struct json_object *now, struct json_object *before)
{
	size_t i, n = get_length(now);

	if (get_length(before) != n)
		return false;
	for (i = 0; i < n; i++) {
		struct json_object *to = json_object_array_get_idx(now, i);
		struct json_object *from = json_object_array_get_idx(before, i);

		if (get_int(to, "started") != get_int(from, "started"))
			return false;
		subtract(to, from);
		limit_wakeups(to);
	}
	return true;
}

/* "12.5 %"; "-" where there is nothing to have a share of. */
static void cell_share(struct columns *t, int64_t part, int64_t whole)
{
	if (whole > 0)
		columns_cell(t, "%.1f %%", 100.0 * part / whole);
	else
		columns_cell(t, "%s", "");
}

static void cell_ratio(struct columns *t, int decimals, int64_t part, int64_t whole)
{
	if (whole > 0)
		columns_cell(t, "%.*f", decimals, (double)part / whole);
	else
		columns_cell(t, "%s", "");
}

static void print_times(struct json_object *list)
{
	static const char *const heads[] = {"WORKER",  ">CPU",      ">BUSY",        ">IDLE",
					    ">ASLEEP", ">ROUNDS",   ">FRAMES",      ">FRAMES/BATCH",
					    ">SLEEPS", ">WAKE-UPS", ">CALLS/FRAME", NULL};
	struct columns *t = columns_new(heads);
	size_t i;

	for (i = 0; i < get_length(list); i++) {
		struct json_object *w = json_object_array_get_idx(list, i);
		int64_t elapsed = get_int(w, "elapsed_cycles"), frames = get_int(w, "frames");

		columns_cell(t, "%" PRId64, get_int(w, "id"));
		cell_number_or(t, w, "cpu", "any");
		cell_share(t, get_int(w, "busy_cycles"), elapsed);
		cell_share(t, get_int(w, "idle_cycles"), elapsed);
		cell_share(t, get_int(w, "sleep_cycles"), elapsed);
		columns_cell(t, "%" PRId64, get_int(w, "rounds"));
		columns_cell(t, "%" PRId64, frames);
		cell_ratio(t, 1, frames, get_int(w, "batches"));
		columns_cell(t, "%" PRId64, get_int(w, "sleeps"));
		columns_cell(t, "%" PRId64, get_int(w, "wakeups"));
		cell_ratio(t, 4, get_int(w, "syscalls"), frames);
	}
	columns_print(t, stdout, 0);
}

static const char *path_text(const char *name)
{
#define PATH_ROW(field, text) {#field, text},
	static const struct {
		const char *name, *text;
	} rows[] = {VXS_PATH_LIST(PATH_ROW)};
#undef PATH_ROW
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!strcmp(rows[i].name, name))
			return rows[i].text;
	return name; /* of a vxsd that is newer than we are */
}

/* The rows of one worker: a path that nothing took has none. */
static void add_paths(struct columns *t, struct json_object *w)
{
	struct json_object *paths = get(w, "paths");

	if (!json_object_is_type(paths, json_type_object))
		return;
	json_object_object_foreach(paths, name, path)
	{
		int64_t frames = get_int(path, "frames"), cycles = get_int(path, "cycles");

		if (!frames && !cycles)
			continue;
		columns_cell(t, "%" PRId64, get_int(w, "id"));
		columns_cell(t, "%s", path_text(name));
		columns_cell(t, "%" PRId64, frames);
		cell_ratio(t, 1, frames, get_int(path, "batches"));
		cell_ratio(t, 1, cycles, frames);
		cell_share(t, cycles, get_int(w, "busy_cycles"));
	}
}

void workers_print(struct json_object *list)
{
	static const char *const heads[] = {"WORKER",        "PATH",     ">FRAMES", ">FRAMES/BATCH",
					    ">CYCLES/FRAME", ">OF-BUSY", NULL};
	struct columns *t = columns_new(heads);
	size_t i;

	print_times(list);
	for (i = 0; i < get_length(list); i++)
		add_paths(t, json_object_array_get_idx(list, i));
	if (columns_empty(t)) { /* no frames: nothing stands below the heads */
		columns_free(t);
		return;
	}
	printf("\n");
	columns_print(t, stdout, 0);
}
