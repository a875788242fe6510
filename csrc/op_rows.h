/* What decodes a row of a weight type. */
#ifndef LK_OP_ROWS_H
#define LK_OP_ROWS_H

/* The kernel slot; -1 for types that have none. */
int lk_row_slot(int type);

#endif
