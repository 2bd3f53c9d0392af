package org.apache.spark.scheduler.cluster.mesoslite;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkContext;
import org.apache.spark.launcher.JavaModuleOptions;
import org.apache.spark.resource.ResourceProfile;
import org.apache.spark.rpc.RpcAddress;
import org.apache.spark.scheduler.ExecutorExited;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerExecutorAdded;
import org.apache.spark.scheduler.TaskSchedulerImpl;
import org.apache.spark.scheduler.cluster.CoarseGrainedSchedulerBackend;
import org.apache.spark.scheduler.cluster.SchedulerBackendUtils;
import org.apache.spark.util.Utils;
import scala.Option;
import scala.collection.immutable.Seq;
import scala.concurrent.Future;
import scala.concurrent.Future$;
import scala.jdk.javaapi.CollectionConverters;

/**
 * Spark's side of an application: what it wants goes to the scheduler in the Python process, and
 * what became of its executors comes back. Decides nothing by itself.
 */
final class MesosliteBackend extends CoarseGrainedSchedulerBackend implements Link.Listener {
    private final SparkContext context;
    private final TaskSchedulerImpl scheduler;
    private final Link link;

    MesosliteBackend(SparkContext context, TaskSchedulerImpl scheduler, int port) {
        super(scheduler, context.env().rpcEnv());
        this.context = context;
        this.scheduler = scheduler;
        try {
            this.link = new Link(port, this);
        } catch (IOException error) {
            throw new UncheckedIOException("no mesoslite scheduler at port " + port, error);
        }
    }

    @Override
    public String applicationId() {
        return conf().get("spark.mesoslite.application");
    }

    @Override
    public void start() {
        super.start();
        context.addSparkListener(
                new SparkListener() {
                    @Override
                    public void onExecutorAdded(SparkListenerExecutorAdded added) {
                        link.say("registered", Map.of("executor", added.executorId()));
                    }
                });
        link.open();
        link.say(
                "started",
                Map.of(
                        "driver", driverUrl(),
                        "page", context.uiWebUrl().getOrElse(() -> ""),
                        "java_options", javaOptions(),
                        "class_path", conf().get("spark.executor.extraClassPath", ""),
                        "environment", environment()));
        want(SchedulerBackendUtils.getInitialTargetExecutorNumber(
                conf(), SchedulerBackendUtils.DEFAULT_NUMBER_EXECUTORS()));
    }

    /** Ends the executors, and waits until the scheduler has given everything back. */
    @Override
    public void stop() {
        try {
            super.stop();
        } finally {
            link.close();
        }
    }

    // --- what Spark wants -------------------------------------------------------------------------

    /** Absolute, as Spark says it; only the default profile exists with a master like ours. */
    @Override
    public Future<Object> doRequestTotalExecutors(
            scala.collection.immutable.Map<ResourceProfile, Object> totals) {
        int total = 0;
        for (Object each : CollectionConverters.asJava(totals).values()) {
            total = (int) Math.min(Integer.MAX_VALUE, (long) total + (Integer) each);
        }
        want(total);
        return done();
    }

    @Override
    public Future<Object> doKillExecutors(Seq<String> executors) {
        link.say("kill", Map.of("executors", CollectionConverters.asJava(executors)));
        return done();
    }

    private void want(int total) {
        link.say("want", Map.of("total", Math.max(0, total)));
    }

    private static Future<Object> done() {
        return Future$.MODULE$.successful((Object) Boolean.TRUE);
    }

    /** Why an executor is gone is for the scheduler to say: until it has, no task is counted failed. */
    @Override
    public DriverEndpoint createDriverEndpoint() {
        return new DriverEndpoint() {
            @Override
            public void onDisconnected(RpcAddress address) {
                Option<String> executor = addressToExecutorId().get(address);
                if (executor.isDefined() && disableExecutor(executor.get())) {
                    link.say("disconnected", Map.of("executor", executor.get()));
                }
            }
        };
    }

    // --- what the scheduler says ------------------------------------------------------------------

    @Override
    public void lost(String executor, int exitCode, boolean causedByApp, String why) {
        removeExecutor(executor, new ExecutorExited(exitCode, causedByApp, why));
    }

    /** Nothing more is to be expected: fail what runs, as Spark's standalone master would. */
    @Override
    public void failed(String why) {
        try {
            scheduler.error(why);
        } finally {
            context.stopInNewThread();
        }
    }

    // --- what an executor is started with ---------------------------------------------------------

    private String driverUrl() {
        SparkConf conf = conf();
        return "spark://" + CoarseGrainedSchedulerBackend.ENDPOINT_NAME() + "@"
                + conf.get("spark.driver.host") + ":" + conf.get("spark.driver.port");
    }

    private List<String> javaOptions() {
        List<String> options = new ArrayList<>(
                Arrays.asList(JavaModuleOptions.defaultModuleOptionArray()));
        for (String key : List.of("defaultJavaOptions", "extraJavaOptions")) {
            String given = conf().get("spark.executor." + key, "");
            options.addAll(CollectionConverters.asJava(Utils.splitCommandString(given)));
        }
        new TreeMap<>(conf().getAllAsJavaMap()).forEach((key, value) -> {
            if (SparkConf.isExecutorStartupConf(key)) {  // what it needs to reach the driver
                options.add("-D" + key + "=" + value);
            }
        });
        return options;
    }

    private Map<String, String> environment() {
        return new TreeMap<>(CollectionConverters.asJava(context.executorEnvs()));
    }

}
