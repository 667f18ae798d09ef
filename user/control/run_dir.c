/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The switch's own directory: made if need be, locked against a second daemon, tidied at the end.
 */

/*
 * The file "lock" in it is held with flock(): the kernel drops that lock however a daemon ends, so
 * a file without a holder is the mark of a daemon that was killed. It says "PID MADE": who holds it
 * (for the message that a second daemon gives), and how many directories at the end of the path
 * that daemon had made itself, which is how a later one knows what to remove when it ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/log.h"
#include "control/run_dir.h"

#define LOCK_FILE "lock"
#define TRIES     10 /* a daemon that ends removes what we have just found: try again */

struct run_dir {
	char path[PATH_MAX];
	char lock[PATH_MAX];
	unsigned made; /* directories at the end of path that are ours to remove */
	int lock_fd;
};

/* Makes one directory; counts it if it wasn't there. */
static int make_one(struct run_dir *dir, const char *path)
{
	struct stat st;
	int err;

	if (!mkdir(path, 0755)) {
		dir->made++;
		/* whatever the umask says: users may list it, its sockets have modes of their own
		 */
		return chmod(path, 0755) ? -errno : 0;
	}
	if (errno != EEXIST)
		return -errno;
	err = stat(path, &st) ? -errno : 0;
	return err ? err : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int make_path(struct run_dir *dir)
{
	char part[PATH_MAX];
	int err = 0;
	char *at;

	dir->made = 0;
	strcpy(part, dir->path);
	for (at = part + 1; !err && *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		err = make_one(dir, part);
		*at = '/';
	}
	return err ? err : make_one(dir, part);
}

/* A daemon that ends may remove a directory between two of our steps: then all is made again. */
static int make_all(struct run_dir *dir)
{
	unsigned tries = 0;
	int err;

	do
		err = make_path(dir);
	while (err == -ENOENT && ++tries < TRIES);
	return err;
}

/* Removes the directories that we made, the deepest first, while they are empty. */
static void remove_made(struct run_dir *dir)
{
	char *slash;

	while (dir->made && !rmdir(dir->path)) {
		dir->made--;
		slash = strrchr(dir->path, '/');
		if (!slash || slash == dir->path)
			break;
		*slash = '\0';
	}
	dir->made = 0;
}

/* Reads "PID MADE" of a lock file; what isn't there stays as it was. */
static void read_lock(int fd, int *pid, unsigned *made)
{
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return;
	text[n] = '\0';
	sscanf(text, "%d %u", pid, made);
}

/* Opens and locks the file; -EAGAIN if it was removed meanwhile, -EBUSY if it is held. */
static int lock_once(struct run_dir *dir, const char *name)
{
	struct stat ours, there;
	unsigned made = 0;
	int pid = 0;

	dir->lock_fd = open(dir->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (dir->lock_fd < 0) {
		int err = -errno;

		if (err == -ENOENT) /* a daemon that ended has just removed the directory */
			return -EAGAIN;
		log_error("cannot lock %s: %s: choose another directory with --run-dir", dir->lock,
			  strerror(-err));
		return err;
	}
	if (flock(dir->lock_fd, LOCK_EX | LOCK_NB)) {
		read_lock(dir->lock_fd, &pid, &made);
		log_error("switch \"%s\" runs already (pid %d): stop it or choose another --name",
			  name, pid);
		return -EBUSY;
	}
	if (fstat(dir->lock_fd, &ours) || stat(dir->lock, &there) || ours.st_ino != there.st_ino ||
	    ours.st_dev != there.st_dev) {
		close(dir->lock_fd);
		dir->lock_fd = -1;
		return -EAGAIN;
	}
	return 0;
}

/* Whether the socket file at @path is dead: nobody listens on it. */
static bool is_dead_socket(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	bool dead;
	int fd;

	if (lstat(path, &st) || !S_ISSOCK(st.st_mode) || strlen(path) >= sizeof(addr.sun_path))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	strcpy(addr.sun_path, path);
	dead = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) && errno == ECONNREFUSED;
	close(fd);
	return dead;
}

/* Removes the sockets of a daemon that was killed, those of VMs that are gone too. */
static void remove_stale(const struct run_dir *dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	size_t len;
	DIR *all;

	all = opendir(dir->path);
	if (!all)
		return;
	while ((entry = readdir(all))) {
		len = strlen(entry->d_name);
		if (len <= 5 || strcmp(entry->d_name + len - 5, ".sock") ||
		    run_dir_file(dir, path, sizeof(path), entry->d_name, ""))
			continue;
		if (is_dead_socket(path))
			unlink(path);
	}
	closedir(all);
}

static int take_lock(struct run_dir *dir, const char *name)
{
	unsigned made = 0, tries = 0;
	char text[64];
	int pid = 0;
	int err;
	int n;

	do {
		err = lock_once(dir, name);
		if (err == -EAGAIN)
			make_all(dir);
	} while (err == -EAGAIN && ++tries < TRIES);
	if (err == -EAGAIN)
		log_error("cannot lock %s: it is removed again and again", dir->lock);
	if (err)
		return err;

	read_lock(dir->lock_fd, &pid, &made);
	if (pid) {
		log_info("switch \"%s\" (pid %d) was killed: tidying up after it", name, pid);
		if (dir->made < made)
			dir->made = made;
		remove_stale(dir);
	}
	n = snprintf(text, sizeof(text), "%d %u\n", getpid(), dir->made);
	if (ftruncate(dir->lock_fd, 0) || pwrite(dir->lock_fd, text, n, 0) != n) {
		err = errno ? -errno : -EIO;
		log_error("cannot write %s: %s", dir->lock, strerror(-err));
		unlink(dir->lock);
	}
	return err;
}

int run_dir_file(const struct run_dir *dir, char *text, size_t len, const char *name,
		 const char *suffix)
{
	int n = snprintf(text, len, "%s/%s%s", dir->path, name, suffix);

	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int run_dir_open(struct run_dir **out, const char *name, const char *path)
{
	struct run_dir *dir = calloc(1, sizeof(*dir));
	size_t len = strlen(path);
	int err;

	if (!dir)
		return -ENOMEM;
	dir->lock_fd = -1;
	while (len > 1 && path[len - 1] == '/')
		len--;
	if (!len || len >= sizeof(dir->path)) {
		log_error("run directory \"%.40s\": empty or too long: choose another --run-dir",
			  path);
		err = len ? -ENAMETOOLONG : -EINVAL;
		goto err;
	}
	memcpy(dir->path, path, len);
	err = run_dir_file(dir, dir->lock, sizeof(dir->lock), LOCK_FILE, "");
	if (!err)
		err = make_all(dir);
	if (err) {
		log_error("cannot make the run directory %s: %s: name one of your own with "
			  "--run-dir",
			  dir->path, strerror(-err));
		goto err;
	}
	err = take_lock(dir, name);
	if (err)
		goto err;
	*out = dir;
	return 0;

err:
	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	remove_made(dir);
	free(dir);
	return err;
}

void run_dir_close(struct run_dir *dir)
{
	if (!dir)
		return;
	/* before the lock is dropped: a daemon that waits for it sees that the file has gone */
	unlink(dir->lock);
	close(dir->lock_fd);
	remove_made(dir);
	free(dir);
}
