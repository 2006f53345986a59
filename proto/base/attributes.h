/* GNU attributes that pay, under short names. */
#pragma once

#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(format_index, first_index) \
	__attribute__((format(printf, format_index, first_index)))
#define _cleanup_(function) __attribute__((cleanup(function)))
#define _unused_ __attribute__((unused))
#define _noreturn_ __attribute__((noreturn))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
