/* The programs in the one binary, each in its own file and listed in server/main.c. argv[0] is the command's name. Each
 * answers what to exit with: 0, 1 after a failure, 2 after wrong usage; each knows --help. */
#ifndef SERVER_COMMANDS_H
#define SERVER_COMMANDS_H

#ifndef SLIPWAY_VERSION
#define SLIPWAY_VERSION "0.1.0"
#endif

int serve_main(int argc, char **argv);   /* server/serve.c */
int agent_main(int argc, char **argv);   /* server/agent/main.c */
int watch_main(int argc, char **argv);   /* server/command/watch.c */
int client_main(int argc, char **argv);  /* server/command/client.c */
int login_main(int argc, char **argv);   /* server/command/login.c */
int logout_main(int argc, char **argv);  /* server/command/login.c */
int whoami_main(int argc, char **argv);  /* server/command/login.c */
int key_main(int argc, char **argv);     /* server/command/key.c */
int tenant_main(int argc, char **argv);  /* server/command/tenant.c */
int user_main(int argc, char **argv);    /* server/command/user.c */
int backup_main(int argc, char **argv);  /* server/backup/backup.c */
int restore_main(int argc, char **argv); /* server/backup/restore.c */
int config_main(int argc, char **argv);  /* server/command/config.c */

#endif
