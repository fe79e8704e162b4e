/* Reads the control file: one line, one wish. */
#define _GNU_SOURCE
#include "faulty.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool function_named(const char *name, enum function *function)
{
  for (int i = 0; i < F_COUNT; i++) {
    if (strcmp(function_names[i], name) != 0) continue;
    *function = i;
    return true;
  }
  *function = F_ANY;
  return strcmp(name, "*") == 0;
}

static bool word_in(const char *word, const char *const *words, int count, int *found)
{
  for (*found = 0; *found < count; ++*found)
    if (strcmp(words[*found], word) == 0) return true;
  return false;
}
#define WORD(word, found, ...) \
  word_in(word, (const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), found)
#define ACTIONS "fail", "delay", "hang", "drop-sessions", "reset", "logout", "wrong-key", "corrupt", "finish", "alone", \
  "full-length", "wrong-size", "skip"

/* on FUNCTION [at N | every N | from N | percent P] ACTION [CKR | MILLISECONDS] */
static bool read_rule(char **words, int count, struct rule *rule)
{
  int i = 2, when, action;
  rule->when = ALWAYS;
  if (count < 3 || !function_named(words[1], &rule->function)) return false;
  if (WORD(words[i], &when, "at", "every", "from", "percent")) {
    if (i + 2 >= count) return false;
    rule->when = when + 1;
    rule->number = atof(words[i + 1]);
    if (rule->number <= 0) return false;
    i += 2;
  }
  if (!WORD(words[i], &action, ACTIONS)) return false;
  rule->action = action;
  i += 1;
  bool needs_number = action == FAIL || action == DELAY || action == FINISH;
  if (i == count) return !needs_number;
  return i + 1 == count && (needs_number || action == HANG) && number_named(words[i], &rule->argument) &&
         !(action == FAIL && rule->argument == CKR_OK);
}

/* refuse ATTRIBUTE[=[true|false]] [in FUNCTION] [CKR]; the others alike, without the CKR */
static bool read_attribute(char **words, int count, enum attribute_fault fault, struct attribute_rule *rule)
{
  static const CK_RV usual[] = {[REFUSE] = CKR_ATTRIBUTE_VALUE_INVALID, [REQUIRE] = CKR_TEMPLATE_INCOMPLETE};
  if (count < 2) return false;
  char *value = strchr(words[1], '=');
  if (value) *value++ = 0;
  rule->fault = fault;
  rule->function = F_ANY;
  rule->has_value = value != NULL;
  rule->length = value && *value;
  rule->value = value && strcmp(value, "true") == 0;
  rule->rv = fault <= REQUIRE ? usual[fault] : CKR_OK;
  if (value && *value && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) return false;
  if (fault >= MAKE && !(value && *value)) return false;
  int i = 2;
  if (i + 1 < count && strcmp(words[i], "in") == 0) {
    if (!function_named(words[i + 1], &rule->function)) return false;
    i += 2;
  }
  if (i < count && fault <= REQUIRE && number_named(words[i], &rule->rv)) i++;
  return i == count && number_named(words[1], &rule->type);
}

static bool read_mechanism(char **words, int count, enum mechanism_fault fault, struct mechanism_rule *rule)
{
  rule->fault = fault;
  if (count != (fault == RENUMBER ? 3 : 2) || !number_named(words[1], &rule->type)) return false;
  return fault != RENUMBER || number_named(words[2], &rule->as);
}

static bool read_gcm_iv(const char *way, struct control *c)
{
  static const struct { enum gcm_iv mode; CK_ULONG room; } ways[] =
      {{IV_CALLER, 0}, {IV_OVERWRITE, 12}, {IV_PREFIX, 12}, {IV_SUFFIX, 12}, {IV_SUFFIX, 16}};
  int found;
  if (!WORD(way, &found, "caller", "overwrite", "prefix", "suffix", "suffix-16")) return false;
  c->gcm_iv = ways[found].mode;
  c->iv_room = ways[found].room;
  return true;
}

static bool read_flag(const char *name, struct control *c)
{
  bool *flags[] = {&c->absent,     &c->one_attribute, &c->strict_gcm,
                   &c->silent_pin, &c->empty_slot,    &c->read_write_only};
  int found;
  return WORD(name, &found, "absent", "one-attribute", "strict-gcm", "silent-pin", "empty-slot", "read-write-only") &&
         (*flags[found] = true);
}

static bool copy(char *to, size_t room, const char *from) { return snprintf(to, room, "%s", from) < (int)room; }

static bool read_line(char *line, struct control *c)
{
  char *words[16], *rest = line, *word;
  int count = 0, fault;
  enum function function;
  CK_ULONG number = 0;
  while (count < 16 && (word = strsep(&rest, " \t\n")))
    if (*word == '#') break;
    else if (*word) words[count++] = word;
  if (count == 0) return true;
  if (strcmp(words[0], "on") == 0) return c->rule_count < MOST && read_rule(words, count, &c->rules[c->rule_count++]);
  if (WORD(words[0], &fault, "refuse", "require", "make", "say"))
    return c->attribute_count < MOST && read_attribute(words, count, fault, &c->attributes[c->attribute_count++]);
  if (WORD(words[0], &fault, "hide", "unlist", "list-only", "renumber"))
    return c->mechanism_count < MOST && read_mechanism(words, count, fault, &c->mechanisms[c->mechanism_count++]);
  if (count == 1) return read_flag(words[0], c);
  if (strcmp(words[0], "pin-lengths") == 0)
    return c->has_pin_lengths = count == 3 && number_named(words[1], &c->pin_lengths[0]) &&
                                number_named(words[2], &c->pin_lengths[1]);
  if (count != 2) return false;
  if (strcmp(words[0], "now") == 0) {
    if (!WORD(words[1], &fault, ACTIONS) || fault < DROP_SESSIONS || fault > LOGOUT) return false;
    return c->now_count < MOST && (c->now[c->now_count++] = fault, true);
  }
  if (strcmp(words[0], "missing") == 0)
    return function_named(words[1], &function) && function != F_ANY && (c->missing[function] = true);
  if (strcmp(words[0], "real") == 0) return copy(c->real, sizeof c->real, words[1]);
  if (strcmp(words[0], "trace") == 0) return copy(c->trace, sizeof c->trace, words[1]);
  if (strcmp(words[0], "count-sessions") == 0) return copy(c->sessions, sizeof c->sessions, words[1]);
  if (strcmp(words[0], "serial") == 0) return copy(c->serial, sizeof c->serial, words[1]);
  if (strcmp(words[0], "firmware") == 0) return sscanf(words[1], "%d.%d", &c->firmware[0], &c->firmware[1]) == 2;
  if (strcmp(words[0], "gcm-iv") == 0) return read_gcm_iv(words[1], c);
  if (!number_named(words[1], &number)) return false;
  if (strcmp(words[0], "slots") == 0) return c->slot_offset = number, true;
  if (strcmp(words[0], "session-limit") == 0) return c->session_limit = number, number > 0;
  if (strcmp(words[0], "portions") == 0) return c->portion = number, number > 0;
  if (strcmp(words[0], "pin-tries") == 0) return c->pin_tries = number, number > 0;
  return false;
}

const char *control_path(void)
{
  static char path[4096];
  if (*path) return path;
  const char *named = getenv("FAULTY_MODULE_CONTROL");
  Dl_info us;
  if (named) copy(path, sizeof path, named);
  else if (dladdr((void *)control_path, &us)) snprintf(path, sizeof path, "%s.conf", us.dli_fname);
  return path;
}

static struct control *read_control(struct control *previous)
{
  struct control *c = calloc(1, sizeof *c);
  if (!c) abort();
  c->firmware[0] = c->firmware[1] = -1;
  c->previous = previous;
  FILE *file = fopen(control_path(), "r");
  if (!file) return c;
  char line[8192];
  for (int number = 1; fgets(line, sizeof line, file); number++) {
    if (read_line(line, c)) continue;
    fprintf(stderr, "faulty-module: %s:%d: not understood\n", control_path(), number);
    c->is_broken = true;
  }
  fclose(file);
  return c;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void forget_previous(struct control *c)
{
  pthread_mutex_lock(&lock);
  /* Whoever enters from here on waits for the lock, and finds no older one than `c`. */
  struct control *old = is_alone() ? c->previous : NULL;
  if (old) c->previous = NULL;
  pthread_mutex_unlock(&lock);
  while (old) {
    struct control *next = old->previous;
    free(old);
    old = next;
  }
}

struct control *control(void)
{
  static struct control *current;
  static struct stat seen;
  pthread_mutex_lock(&lock);
  struct stat now = {0};
  (void)stat(control_path(), &now);
  if (!current || now.st_ino != seen.st_ino || now.st_size != seen.st_size ||
      now.st_mtim.tv_sec != seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != seen.st_mtim.tv_nsec) {
    current = read_control(current);
    seen = now;
  }
  struct control *result = current;
  pthread_mutex_unlock(&lock);
  return result;
}
