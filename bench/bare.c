// A container's life with nothing around it: the system calls that start, await and clean up
// one container, in order, from one small C program. It is the floor that the engines are
// measured against.
//
//   bare ROOTFS WORKDIR COUNT [BRIDGE]
//
// runs /bin/true COUNT times in a fresh container on the directory ROOTFS (read-only lower
// layer) and prints the microseconds of each, one a line. With BRIDGE each container also has
// a veth on that bridge with an address. Any failure ends the program with a message.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS_REC_PRIVATE ((1 << 14) | (1 << 18))
#define UMOUNT_DETACH 2
#define MEMORY_LIMIT "268435456"
#define PIDS_LIMIT "512"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);

static void die(const char *what) {
    fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static int must(long result, const char *what) {
    if (result < 0) die(what);
    return (int)result;
}

static void put(const char *path, const char *text) {
    int fd = must(open(path, O_WRONLY | O_CLOEXEC), path);
    if (write(fd, text, strlen(text)) < 0) die(path);
    close(fd);
}

// ---------------------------------------------------------------- cgroups

#define MAX_HIERARCHIES 16
static char hierarchies[MAX_HIERARCHIES][256];
static int hierarchy_count;
static int unified;

static void find_hierarchies(void) {
    FILE *mounts = fopen("/proc/self/mounts", "r");
    if (!mounts) die("/proc/self/mounts");
    char source[256], target[256], type[64], rest[512];
    while (fscanf(mounts, "%255s %255s %63s %511[^\n]", source, target, type, rest) == 4) {
        int v2 = !strcmp(type, "cgroup2") && !strcmp(target, "/sys/fs/cgroup");
        if ((!strcmp(type, "cgroup") || v2) && hierarchy_count < MAX_HIERARCHIES) {
            unified = v2;
            strcpy(hierarchies[hierarchy_count++], target);
        }
    }
    fclose(mounts);
}

static void copy_file(const char *from, const char *to) {
    char text[256];
    int fd = must(open(from, O_RDONLY | O_CLOEXEC), from);
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) return;
    text[size] = 0;
    put(to, text);
}

static void make_cgroups(const char *name, char paths[][512]) {
    static const char *allowed[] = {"c *:* m",     "b *:* m",     "c 1:3 rwm",   "c 1:5 rwm",
                                    "c 1:7 rwm",   "c 1:8 rwm",   "c 1:9 rwm",   "c 5:0 rwm",
                                    "c 5:1 rwm",   "c 5:2 rwm",   "c 136:* rwm"};
    char path[640], from[640];
    for (int i = 0; i < hierarchy_count; i++) {
        snprintf(paths[i], 512, "%s/%s", hierarchies[i], name);
        must(mkdir(paths[i], 0755), paths[i]);
        snprintf(path, sizeof path, "%s/cpuset.cpus", paths[i]);
        if (!unified && !access(path, F_OK)) {
            snprintf(from, sizeof from, "%s/cpuset.cpus", hierarchies[i]);
            copy_file(from, path);
            snprintf(from, sizeof from, "%s/cpuset.mems", hierarchies[i]);
            snprintf(path, sizeof path, "%s/cpuset.mems", paths[i]);
            copy_file(from, path);
        }
        snprintf(path, sizeof path, "%s/devices.deny", paths[i]);
        if (!access(path, F_OK)) {
            put(path, "a");
            snprintf(path, sizeof path, "%s/devices.allow", paths[i]);
            for (size_t n = 0; n < sizeof allowed / sizeof *allowed; n++) put(path, allowed[n]);
        }
        snprintf(path, sizeof path, "%s/memory.limit_in_bytes", paths[i]);
        if (!access(path, F_OK)) put(path, MEMORY_LIMIT);
        snprintf(path, sizeof path, "%s/memory.max", paths[i]);
        if (!access(path, F_OK)) put(path, MEMORY_LIMIT);
        snprintf(path, sizeof path, "%s/pids.max", paths[i]);
        if (!access(path, F_OK)) put(path, PIDS_LIMIT);
        snprintf(path, sizeof path, "%s/cpu.shares", paths[i]);
        if (!access(path, F_OK)) put(path, "1024");
    }
}

static void join_cgroups(pid_t pid, char paths[][512]) {
    char path[640], text[32];
    snprintf(text, sizeof text, "%d", pid);
    for (int i = 0; i < hierarchy_count; i++) {
        snprintf(path, sizeof path, "%s/cgroup.procs", paths[i]);
        put(path, text);
    }
}

static void remove_cgroups(char paths[][512]) {
    for (int i = 0; i < hierarchy_count; i++)
        while (rmdir(paths[i]) < 0)
            if (errno != EBUSY) die(paths[i]);
}

// ---------------------------------------------------------------- netlink

struct request {
    struct nlmsghdr header;
    char body[1024];
};

static void *grow(struct request *request, size_t size) {
    void *at = (char *)request + NLMSG_ALIGN(request->header.nlmsg_len);
    memset(at, 0, NLMSG_ALIGN(size));
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + NLMSG_ALIGN(size);
    return at;
}

static struct rtattr *add(struct request *request, int type, const void *data, size_t size) {
    struct rtattr *attribute = grow(request, RTA_LENGTH(size));
    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(size);
    if (data) memcpy(RTA_DATA(attribute), data, size);
    return attribute;
}

static void end(struct request *request, struct rtattr *nest) {
    nest->rta_len = (char *)request + request->header.nlmsg_len - (char *)nest;
}

static void talk(int fd, struct request *request, const char *what) {
    char answer[4096];
    must(send(fd, request, request->header.nlmsg_len, 0), what);
    if (recv(fd, answer, sizeof answer, 0) < 0) die(what);
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    if (header->nlmsg_type == NLMSG_ERROR) {
        errno = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
        if (errno) die(what);
    }
}

static struct request new_request(int type, int flags, const void *body, size_t size) {
    struct request request = {0};
    request.header.nlmsg_len = NLMSG_LENGTH(0);
    request.header.nlmsg_type = type;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    memcpy(grow(&request, size), body, size);
    return request;
}

static int open_netlink(void) {
    return must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "netlink");
}

static void add_veth(int fd, const char *host_name, int bridge, pid_t pid) {
    struct ifinfomsg link = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg none = {0};
    struct request request = new_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    add(&request, IFLA_IFNAME, host_name, strlen(host_name) + 1);
    add(&request, IFLA_MASTER, &bridge, sizeof bridge);
    struct rtattr *info = add(&request, IFLA_LINKINFO, NULL, 0);
    add(&request, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add(&request, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *peer = add(&request, VETH_INFO_PEER, NULL, 0);
    memcpy(grow(&request, sizeof none), &none, sizeof none);
    add(&request, IFLA_IFNAME, "eth0", 5);
    add(&request, IFLA_NET_NS_PID, &pid, sizeof pid);
    end(&request, peer);
    end(&request, data);
    end(&request, info);
    talk(fd, &request, "RTM_NEWLINK veth");
}

static void set_up(int fd, int index) {
    struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct request request = new_request(RTM_NEWLINK, 0, &link, sizeof link);
    talk(fd, &request, "link up");
}

static void set_up_network(int bridged) {
    int fd = open_netlink();
    set_up(fd, 1);
    if (bridged) {
        int index = if_nametoindex("eth0");
        uint32_t address = inet_addr("10.212.255.2"), gateway = inet_addr("10.212.255.1");
        struct ifaddrmsg message = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index};
        struct request request = new_request(RTM_NEWADDR, NLM_F_CREATE, &message, sizeof message);
        add(&request, IFA_LOCAL, &address, 4);
        add(&request, IFA_ADDRESS, &address, 4);
        talk(fd, &request, "RTM_NEWADDR");
        set_up(fd, index);
        struct rtmsg route = {.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN,
                              .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST};
        request = new_request(RTM_NEWROUTE, NLM_F_CREATE, &route, sizeof route);
        add(&request, RTA_GATEWAY, &gateway, 4);
        add(&request, RTA_OIF, &index, 4);
        talk(fd, &request, "RTM_NEWROUTE");
    }
    close(fd);
}

// ---------------------------------------------------------------- file system

static int new_mount(const char *type, const char *options[][2], unsigned attributes) {
    int context = must(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type);
    for (int i = 0; options && options[i][0]; i++)
        must(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0),
             options[i][0]);
    must(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), type);
    int fd = must(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes), type);
    close(context);
    return fd;
}

static void place(int fd, const char *target) {
    must(syscall(SYS_move_mount, fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), target);
    close(fd);
}

static void bind_mount(const char *source, const char *target, unsigned attributes) {
    int fd = must(syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
                  source);
    if (attributes) {
        struct mount_attr set = {.attr_set = attributes};
        must(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &set, sizeof set), source);
    }
    place(fd, target);
}

static void make_file(const char *path) {
    close(must(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644), path));
}

static void enter_root(const char *lower, const char *work) {
    static const struct { const char *name; int minor, major; } devices[] = {
        {"dev/null", 3, 1}, {"dev/zero", 5, 1},    {"dev/full", 7, 1},
        {"dev/random", 8, 1}, {"dev/urandom", 9, 1}, {"dev/tty", 0, 5}};
    static const char *links[][2] = {{"/proc/self/fd", "dev/fd"},
                                     {"/proc/self/fd/0", "dev/stdin"},
                                     {"/proc/self/fd/1", "dev/stdout"},
                                     {"/proc/self/fd/2", "dev/stderr"},
                                     {"pts/ptmx", "dev/ptmx"}};
    static const char *masked_files[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list",
                                         "/proc/sched_debug", "/proc/interrupts"};
    static const char *masked_directories[] = {"/proc/acpi", "/proc/scsi", "/sys/firmware"};
    static const char *readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                     "/proc/sysrq-trigger"};
    const unsigned safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    char upper[512], scratch[512], file[512];

    must(mount(NULL, "/", NULL, MS_REC_PRIVATE, NULL), "private /");
    snprintf(upper, sizeof upper, "%s/upper", work);
    snprintf(scratch, sizeof scratch, "%s/work", work);
    const char *overlay[][2] = {
        {"lowerdir", lower}, {"upperdir", upper}, {"workdir", scratch}, {NULL, NULL}};
    place(new_mount("overlay", overlay, 0), lower);
    must(chdir(lower), lower);

    place(new_mount("proc", NULL, safe), "proc");
    const char *dev[][2] = {{"mode", "755"}, {"size", "65536k"}, {NULL, NULL}};
    place(new_mount("tmpfs", dev, MOUNT_ATTR_NOSUID), "dev");
    must(mkdir("dev/pts", 0755), "dev/pts");
    must(mkdir("dev/mqueue", 0755), "dev/mqueue");
    must(mkdir("dev/shm", 0755), "dev/shm");
    const char *pts[][2] = {{"mode", "0620"}, {"ptmxmode", "0666"}, {"gid", "5"}, {NULL, NULL}};
    place(new_mount("devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), "dev/pts");
    place(new_mount("sysfs", NULL, safe | MOUNT_ATTR_RDONLY), "sys");
    place(new_mount("mqueue", NULL, safe), "dev/mqueue");
    const char *shm[][2] = {{"mode", "1777"}, {"size", "67108864"}, {NULL, NULL}};
    place(new_mount("tmpfs", shm, safe), "dev/shm");
    umask(0);
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        must(mknod(devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)),
             devices[i].name);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        must(symlink(links[i][0], links[i][1]), links[i][1]);
    umask(022);
    static const char *files[] = {"hosts", "hostname", "resolv.conf"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char target[64];
        snprintf(file, sizeof file, "%s/%s", work, files[i]);
        snprintf(target, sizeof target, "etc/%s", files[i]);
        make_file(target);
        bind_mount(file, target, 0);
    }

    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", UMOUNT_DETACH), "umount of the old root");
    must(chdir("/"), "chdir /");

    for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++)
        if (!access(readonly[i], F_OK)) bind_mount(readonly[i], readonly[i], MOUNT_ATTR_RDONLY);
    for (size_t i = 0; i < sizeof masked_files / sizeof *masked_files; i++)
        if (!access(masked_files[i], F_OK)) bind_mount("/dev/null", masked_files[i], 0);
    for (size_t i = 0; i < sizeof masked_directories / sizeof *masked_directories; i++)
        if (!access(masked_directories[i], F_OK))
            place(new_mount("tmpfs", NULL, MOUNT_ATTR_RDONLY), masked_directories[i]);
}

// ---------------------------------------------------------------- privileges

static void drop_capabilities(void) {
    const uint64_t kept = 0xa80425fb;  // docker's default set
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        if (!(kept >> capability & 1)) must(prctl(PR_CAPBSET_DROP, capability), "bounding set");
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)kept, .permitted = (uint32_t)kept}, {0}};
    must(syscall(SYS_capset, &header, data), "capset");
}

// As many comparisons as docker's default profile makes for x86_64, one a call allowed.
static void filter_calls(void) {
    enum { CALLS = 360 };
    static struct sock_filter filter[CALLS * 2 + 8];
    int size = 0;
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                  offsetof(struct seccomp_data, arch));
    filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                  offsetof(struct seccomp_data, nr));
    for (int call = 0; call < CALLS; call++) {
        filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
        filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    struct sock_fprog program = {.len = size, .filter = filter};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

// ---------------------------------------------------------------- one container

static void run_init(const char *lower, const char *work, int go, int bridged) {
    char byte;
    if (read(go, &byte, 1) != 1) _exit(1);
    must(unshare(CLONE_NEWCGROUP), "cgroup namespace");
    set_up_network(bridged);
    enter_root(lower, work);
    must(sethostname("bare", 4), "sethostname");
    must(setsid(), "setsid");
    filter_calls();
    drop_capabilities();
    char *const arguments[] = {"true", NULL};
    char *const environment[] = {"PATH=/usr/bin:/bin", "HOME=/root", NULL};
    execve("/bin/true", arguments, environment);
    die("execve /bin/true");
}

static void run_container(const char *lower, const char *base, int number, int bridge) {
    char name[64], work[256], path[512], host_name[IFNAMSIZ];
    static char cgroups[MAX_HIERARCHIES][512];
    snprintf(name, sizeof name, "bare-%d-%d", getpid(), number);
    snprintf(work, sizeof work, "%s/%s", base, name);
    must(mkdir(work, 0755), work);
    static const char *directories[] = {"upper", "work"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", work, directories[i]);
        must(mkdir(path, 0755), path);
    }
    static const char *files[] = {"hosts", "hostname", "resolv.conf"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", work, files[i]);
        make_file(path);
        put(path, "127.0.0.1 localhost\n");
    }
    make_cgroups(name, cgroups);

    int go[2], pidfd;
    must(pipe2(go, O_CLOEXEC), "pipe");
    struct clone_args clone = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
                                        CLONE_NEWNET | CLONE_PIDFD,
                               .pidfd = (uintptr_t)&pidfd,
                               .exit_signal = SIGCHLD};
    pid_t pid = must(syscall(SYS_clone3, &clone, sizeof clone), "clone3");
    if (!pid) run_init(lower, work, go[0], bridge);
    join_cgroups(pid, cgroups);
    if (bridge) {
        int fd = open_netlink();
        snprintf(host_name, sizeof host_name, "bare%d", number);
        add_veth(fd, host_name, bridge, pid);
        close(fd);
    }
    if (write(go[1], "x", 1) != 1) die("go");
    siginfo_t info;
    must(waitid(P_PIDFD, pidfd, &info, WEXITED), "waitid");
    if (info.si_code != CLD_EXITED || info.si_status) {
        fprintf(stderr, "bare: the container ended with %d\n", info.si_status);
        exit(1);
    }
    close(go[0]);
    close(go[1]);
    close(pidfd);

    remove_cgroups(cgroups);
    char *const doomed[] = {"upper/etc/hosts", "upper/etc/hostname", "upper/etc/resolv.conf",
                            "hosts", "hostname", "resolv.conf"};
    for (size_t i = 0; i < sizeof doomed / sizeof *doomed; i++) {
        snprintf(path, sizeof path, "%s/%s", work, doomed[i]);
        unlink(path);
    }
    static const char *empty[] = {"upper/etc", "upper", "work/work", "work", ""};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        snprintf(path, sizeof path, "%s/%s", work, empty[i]);
        if (rmdir(path) < 0 && errno != ENOENT) die(path);
    }
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: bare ROOTFS WORKDIR COUNT [BRIDGE]\n");
        return 2;
    }
    int bridge = argc == 5 ? if_nametoindex(argv[4]) : 0;
    if (argc == 5 && !bridge) die(argv[4]);
    find_hierarchies();
    for (int number = 0; number < atoi(argv[3]); number++) {
        struct timespec begin, finish;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        run_container(argv[1], argv[2], number, bridge);
        clock_gettime(CLOCK_MONOTONIC, &finish);
        printf("%ld\n", (finish.tv_sec - begin.tv_sec) * 1000000 +
                            (finish.tv_nsec - begin.tv_nsec) / 1000);
    }
    return 0;
}
