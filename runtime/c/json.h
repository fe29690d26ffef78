/* JSON on stdout, one key a line. Objects and arrays are opened and closed by the caller. */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>

void json_open(char bracket);          /* '{' or '['; as the next element when inside an array */
void json_open_key(const char *key, char bracket);
void json_close(char bracket);         /* '}' or ']' */
void json_string(const char *key, const char *text);
void json_integer(const char *key, long long value);
void json_number(const char *key, double value);
void json_moment(const char *key, double seconds);
void json_null(const char *key);
void json_element(long long value);    /* of an array */
void json_numbers(const char *key, const double *values, size_t count);

#endif
