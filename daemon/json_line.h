/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_JSON_LINE_H
#define BC_JSON_LINE_H

unsigned int bc_json_line(const char *json, const char *path);

#endif /* BC_JSON_LINE_H */
