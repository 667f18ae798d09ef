/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The QEMU arguments that attach a VM to a port. */
#ifndef CTL_QEMU_H
#define CTL_QEMU_H

#include <stddef.h>

#include <json-c/json.h>

/**
 * qemu_memory() - check a memory size and give it its unit
 * @text: digits with K, M, G or T behind them, or none for MiB, as QEMU's -m has it
 * @size: where it goes, with its unit
 * @size_len: bytes of @size
 *
 * Return: 0, or -1 if it is no size.
 */
int qemu_memory(const char *text, char *size, size_t size_len);

/**
 * qemu_arguments() - QEMU's arguments for a port
 * @port:        what the daemon says about the port
 * @switch_name: makes, with the port's name and this machine's ID, the address of a VM that has no
 *               fixed one: QEMU would give the same one to each VM
 * @memory:      of the VM, as qemu_memory() wrote it
 *
 * Return: a new array of strings; NULL if there is no memory.
 */
struct json_object *qemu_arguments(struct json_object *port, const char *switch_name,
				   const char *memory);

/** qemu_print() - arguments for a shell, an option and its value on each line. */
void qemu_print(struct json_object *arguments);

#endif
