/*
 * Finding: one thing that recovery, verification or retention has to tell an operator.
 *
 * The log library logs nothing itself; it hands findings to its owner, in the order in which they
 * are met. Nothing that a finding names has been changed unless its kind says so.
 */
#pragma once

#include <stdint.h>

enum finding_kind {
	/* for information */
	FINDING_LOG_CREATED,       /* there was no log in the directory; now there is */
	FINDING_UNCLEAN_STOP,      /* the last stop was not clean: a new epoch begins */
	FINDING_TEMPORARY_REMOVED, /* a *.tmp of ours, never part of the log */
	FINDING_SEGMENT_PRUNED,    /* by retention; the sequences are those of the segment */
	FINDING_SEGMENT_COMPACTED, /* by retention; its keyframe reserve took the segment's place */
	/* attention */
	FINDING_FOREIGN_FILE,   /* not ours: left alone */
	FINDING_OTHER_LOG,      /* a segment of another log: left alone */
	FINDING_NEWER_FORMAT,   /* a segment that this version can't read: left alone */
	FINDING_FOOTER_DAMAGED, /* the segment was scanned instead */
	FINDING_TORN_TAIL,      /* never durable: cut logically; `count` valid records beyond */
	FINDING_TABLE_LARGE,    /* for segments as configured: new ones are of `bytes` */
	/* damage */
	FINDING_HEADER_DAMAGED, /* the salt was taken from elsewhere in the segment, or it is lost
				 */
	FINDING_DAMAGED,        /* first..last can't be read any more; what follows goes on */
	FINDING_LOST,           /* first..last are in no segment */
	FINDING_READ_ERROR,     /* `error`; nothing is known about what stands there */
	FINDING_INDEX_WRONG,    /* an index entry disagrees with the record (verify) */
	FINDING_DIGEST_WRONG,   /* the data is not what was sealed (verify, scrub) */
};

struct finding {
	enum finding_kind kind;
	const char *file;       /* name in the directory, or NULL; borrowed until return */
	uint64_t offset, bytes; /* place and length in the file, when known */
	uint64_t first, last;   /* sequences, or 0 */
	uint64_t count;         /* records */
	int error;              /* -errno, or 0 */
};

struct finding_sink {
	void (*report)(void *owner, const struct finding *finding); /* may be NULL */
	void *owner;
};

enum finding_severity { FINDING_INFO, FINDING_ATTENTION, FINDING_DAMAGE };

/* "torn tail", "foreign file", … */
const char *finding_name(enum finding_kind kind);
enum finding_severity finding_severity(enum finding_kind kind);

void finding_report(const struct finding_sink *sink, const struct finding *finding);
