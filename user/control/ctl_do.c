/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the control socket can do: one table of commands, from request to reply. */
#include "control/ctl_do.h"

#include <errno.h>
#include <string.h>

#include "control/daemon.h"
#include "control/show.h"
#include "control/words.h"

#define REQUEST_DEPTH 4 /* how deep a request's JSON may nest; none of ours nests at all */

/* The arguments of a request, NULL where it has none. */
struct request {
	const char *port, *vm;
	struct port *found; /* the port of that name */
};

/* A command. @run returns the result; NULL with a complaint, or without one if memory is short. */
struct command {
	const char *name;
	bool takes_port, needs_port, needs_vm;
	struct json_object *(*run)(struct daemon *d, const struct request *r, struct complaint *c);
};

static struct json_object *do_status(struct daemon *d, const struct request *r, struct complaint *c)
{
	(void)r, (void)c;
	return show_status(d);
}

static struct json_object *do_ports(struct daemon *d, const struct request *r, struct complaint *c)
{
	(void)c;
	return show_ports(d, r->found);
}

static struct json_object *do_fdb(struct daemon *d, const struct request *r, struct complaint *c)
{
	(void)r, (void)c;
	return show_fdb(d);
}

static struct json_object *do_stats(struct daemon *d, const struct request *r, struct complaint *c)
{
	(void)c;
	return show_stats(d, r->found);
}

static struct json_object *do_workers(struct daemon *d, const struct request *r,
				      struct complaint *c)
{
	(void)r, (void)c;
	return show_workers(d);
}

static struct json_object *do_port_add(struct daemon *d, const struct request *r,
				       struct complaint *c)
{
	struct vm_options vm = {};
	struct vm_state state = {};
	struct json_object *o;
	char warning[256];
	struct port *p;
	int err;

	if (options_parse_vm(&vm, r->vm, c->text, c->size))
		return NULL;
	err = daemon_add_vm(d, &vm, c->text, c->size);
	if (err) {
		if (!c->text[0])
			complain(c, "%s: %s; vxsd's log says more", vm.name, strerror(-err));
		return NULL;
	}
	p = daemon_find_port(d, vm.name);
	o = json_object_new_object();
	if (!p || !o) {
		json_object_put(o);
		return NULL;
	}
	vm_state(vm_of(p), &state);
	json_object_object_add(o, "name", json_object_new_string(p->name));
	json_object_object_add(o, "id", json_object_new_int(p->id));
	json_object_object_add(o, "socket", json_object_new_string(state.socket));
	json_object_object_add(o, "warning",
			       daemon_mtu_warning(d, vm_of(p), warning, sizeof(warning))
				       ? json_object_new_string(warning)
				       : NULL);
	return o;
}

static struct json_object *do_port_del(struct daemon *d, const struct request *r,
				       struct complaint *c)
{
	struct json_object *o;
	int err = daemon_del_vm(d, r->port, c->text, c->size);

	if (err) {
		if (!c->text[0])
			complain(c, "%.60s: %s; vxsd's log says more", r->port, strerror(-err));
		return NULL;
	}
	o = json_object_new_object();
	if (o)
		json_object_object_add(o, "name", json_object_new_string(r->port));
	return o;
}

static const struct command commands[] = {
	{"status", .run = do_status},
	{"ports", .takes_port = true, .run = do_ports},
	{"fdb", .run = do_fdb},
	{"stats", .takes_port = true, .run = do_stats},
	{"workers", .run = do_workers},
	{"port_add", .needs_vm = true, .run = do_port_add},
	{"port_del", .takes_port = true, .needs_port = true, .run = do_port_del},
	{},
};

static const struct command *find_command(const char *name, struct complaint *c)
{
	const char *list[sizeof(commands) / sizeof(commands[0])];
	char names[128];
	unsigned i;

	for (i = 0; commands[i].name; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
		list[i] = commands[i].name;
	}
	list[i] = NULL;
	words_join(names, sizeof(names), list);
	complain(c, "\"%.60s\": no such command; commands are %s", name, names);
	return NULL;
}

/* The text of a member; a NUL inside would make us see less than the client sent. */
static const char *member_text(const char *key, struct json_object *value, struct complaint *c)
{
	if (!json_object_is_type(value, json_type_string) ||
	    strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value)) {
		complain(c, "\"%.60s\" is not text: give a string", key);
		return NULL;
	}
	return json_object_get_string(value);
}

static int read_request(struct json_object *o, struct request *r, const char **name,
			struct complaint *c)
{
	const char **to;

	json_object_object_foreach(o, key, value)
	{
		to = !strcmp(key, "do")     ? name
		     : !strcmp(key, "port") ? &r->port
		     : !strcmp(key, "vm")   ? &r->vm
					    : NULL;
		if (!to)
			return complain(c, "unknown argument \"%.60s\"; arguments are port, vm",
					key);
		*to = member_text(key, value, c);
		if (!*to)
			return -EINVAL;
	}
	if (!*name)
		return complain(c, "the request has no \"do\": write {\"do\": \"status\"}");
	return 0;
}

static int check_arguments(struct daemon *d, const struct command *cmd, struct request *r,
			   struct complaint *c)
{
	if (r->port && !cmd->takes_port)
		return complain(c, "%s takes no \"port\": leave it out", cmd->name);
	if (r->vm && !cmd->needs_vm)
		return complain(c, "%s takes no \"vm\": leave it out", cmd->name);
	if (cmd->needs_port && !r->port)
		return complain(c, "%s needs \"port\", a port's name", cmd->name);
	if (cmd->needs_vm && !r->vm)
		return complain(c, "%s needs \"vm\", NAME[,key=value...]", cmd->name);
	if (!r->port)
		return 0;
	r->found = daemon_find_port(d, r->port);
	if (!r->found)
		return complain(c, "%.60s: no such port; see `vxsctl port show`", r->port);
	return 0;
}

/* The request as an object, or NULL with a complaint. */
static struct json_object *parse(const char *text, size_t len, struct complaint *c)
{
	struct json_tokener *tok = json_tokener_new_ex(REQUEST_DEPTH);
	struct json_object *o = NULL;
	enum json_tokener_error err;

	if (!tok)
		return NULL;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tok, text, len);
	err = json_tokener_get_error(tok);
	if (err == json_tokener_success && json_tokener_get_parse_end(tok) < len)
		err = json_tokener_error_parse_unexpected;
	json_tokener_free(tok);
	if (err != json_tokener_success) {
		complain(c, "the request is not JSON: %s",
			 err == json_tokener_continue ? "it ends too early"
						      : json_tokener_error_desc(err));
	} else if (!json_object_is_type(o, json_type_object)) {
		complain(c, "the request is not a JSON object: write {\"do\": \"status\"}");
	} else {
		return o;
	}
	json_object_put(o);
	return NULL;
}

struct json_object *ctl_error(const char *text)
{
	struct json_object *o = json_object_new_object();

	if (o)
		json_object_object_add(o, "error", json_object_new_string(text));
	return o;
}

struct json_object *ctl_do(struct daemon *d, const char *text, size_t len)
{
	struct json_object *asked, *result = NULL, *reply;
	const struct command *cmd;
	char reason[512] = "";
	struct complaint c = {reason, sizeof(reason)};
	struct request r = {};
	const char *name = NULL;

	asked = parse(text, len, &c);
	if (!asked || read_request(asked, &r, &name, &c))
		goto out;
	cmd = find_command(name, &c);
	if (!cmd || check_arguments(d, cmd, &r, &c))
		goto out;
	result = cmd->run(d, &r, &c);
out:
	json_object_put(asked);
	if (!result)
		return ctl_error(reason[0] ? reason : "vxsd is short of memory: try again");
	reply = json_object_new_object();
	if (!reply || json_object_object_add(reply, "ok", result)) {
		json_object_put(result);
		json_object_put(reply);
		return NULL;
	}
	return reply;
}
