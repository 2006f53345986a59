/*
 * What a sandboxed process keeps of the file system: one path and what it may do there.
 */
#pragma once

enum {
	SANDBOX_READ = 1,  /* read files, list directories */
	SANDBOX_WRITE = 2, /* write, create, rename and remove files and directories */
};

/* A file, or a directory with all below it. One that does not exist grants nothing. */
struct sandbox_path {
	const char *path;
	unsigned int access;
};
